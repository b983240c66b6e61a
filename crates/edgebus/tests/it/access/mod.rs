//! Who may do what, over real sockets: tokens, rights, scopes, and what happens when they change.

mod fixture;

mod consumers;
mod letters;
mod reload;
mod scopes;
mod tokens;
mod verbs;
