//! What the adapter renders and understands.
