//! The one integration binary: drives the real service from outside, and holds the sources to the house rules.

mod crash;
mod history;
mod load;
mod outage;
mod radio;
mod restart;
mod smoke;
mod stacks;
mod support;
mod tidy;
mod traces;
