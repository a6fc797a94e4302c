//! Whether to wait for company: who got a vector a moment ago mostly comes back with the next text.

use super::Process;

/// Most that luck can be.
const MOST: u8 = 8;

/// Runs after which a wait is tried again though the last ones were in vain.
const PAUSE: u8 = 64;

/// Who is expected, who waits for them, and whether that has paid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathering {
    /// Processes that got a vector and have not come back.
    pub(super) away: usize,
    /// Who waits for them; 0 for nobody.
    by: Process,
    expected: usize,
    luck: u8,
    pause: u8,
}

impl Gathering {
    pub(super) const NONE: Self = Self { away: 0, by: 0, expected: 0, luck: MOST / 2, pause: 0 };

    /// `texts` processes got their vectors.
    pub(super) fn served(&mut self, texts: usize) {
        self.away = self.away.saturating_add(texts);
    }

    /// A process comes with a text.
    pub(super) fn came(&mut self) {
        self.away = self.away.saturating_sub(1);
    }

    /// Has `process` wait, if somebody is expected, nobody else waits and it pays.
    pub(super) fn begin(&mut self, process: Process) {
        if self.by != 0 || self.away == 0 {
            return;
        }
        if self.luck == 0 {
            self.pause += 1;
            if self.pause < PAUSE {
                return;
            }
            (self.pause, self.luck) = (0, 1);
        }
        (self.by, self.expected) = (process, self.away);
    }

    /// Who waits.
    pub(super) fn by(&self) -> Option<Process> {
        (self.by != 0).then_some(self.by)
    }

    /// All have come who are needed.
    pub(super) fn complete(&mut self) {
        self.by = 0;
        self.luck = (self.luck + 1).min(MOST);
    }

    /// `process` has waited long enough, or goes: who has not come is not expected any more.
    pub(super) fn give_up(&mut self, process: Process) {
        if self.by != process {
            return;
        }
        self.by = 0;
        if self.away * 2 > self.expected {
            self.luck = self.luck.saturating_sub(2);
        }
        self.away = 0;
    }
}
