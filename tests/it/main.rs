//! The one integration binary: drives the real service from outside, and holds the sources to the house rules.

mod corpus;
mod smoke;
mod support;
mod tidy;
