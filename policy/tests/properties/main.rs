//! Property tests: what has to hold for every input, judged by matchers and evaluators of their own.

mod access;
mod decisions;
mod documents;
mod patterns;
mod placeholders;
mod roles;
mod support;
