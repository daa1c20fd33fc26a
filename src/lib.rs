//! Petit.
