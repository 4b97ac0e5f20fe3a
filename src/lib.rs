//! Tidegate: persistent, filtered event subscriptions on MongoDB.
