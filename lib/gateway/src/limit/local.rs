//! What one environment knows of a limit by itself: which windows are used up, and counts while the table is away.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Rate;
use super::window::{Asked, Verdict};

/// Windows by item key, bounded: forgetting one is always safe, it only costs a question to the table.
#[derive(Debug, Default)]
pub(super) struct LocalWindows(Mutex<HashMap<String, Window>>);

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    index: u64,
    /// The table said so: nothing more passes in this window.
    used_up: bool,
    counted: u64,
}

impl LocalWindows {
    /// Whether the table has said that the window is used up.
    pub(super) fn is_used_up(&self, asked: &Asked) -> bool {
        let windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.get(&asked.key).is_some_and(|window| window.index == asked.window && window.used_up)
    }

    /// Remembers that the window is used up: since a count only grows, asking again before its end is in vain.
    pub(super) fn note_used_up(&self, asked: &Asked) {
        self.with(asked, |window| window.used_up = true);
    }

    /// Counts one here.
    pub(super) fn take(&self, rate: Rate, asked: &Asked) -> Verdict {
        self.with(asked, |window| {
            if window.counted >= rate.count() {
                return Verdict::Denied;
            }
            window.counted += 1;
            Verdict::AdmittedHere { remaining: rate.count() - window.counted }
        })
    }

    fn with<T>(&self, asked: &Asked, change: impl FnOnce(&mut Window) -> T) -> T {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MOST && !windows.contains_key(&asked.key) {
            windows.retain(|_, window| window.index >= asked.window);
            if windows.len() >= MOST {
                windows.clear();
            }
        }
        let window = windows.entry(asked.key.clone()).or_default();
        if window.index != asked.window {
            *window = Window { index: asked.window, ..Window::default() };
        }
        change(window)
    }
}

const MOST: usize = 8192;
