//! The one integration binary: drives the real service from outside, and holds the sources to the house rules.

mod openapi;
mod smoke;
mod support;
mod tidy;
