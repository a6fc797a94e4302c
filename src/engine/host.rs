//! What long-running or thread-making rooms of the engine ask of the program around them. The Postgres floor
//! implements it with signal masks, interrupt checks and a timer; tests use [`Unattended`].

use std::sync::OnceLock;

use super::Result;
#[cfg(feature = "onnx")]
use super::onnx::lending::Environment;
#[cfg(feature = "onnx")]
use super::text::batching::Batching;

static CHECKPOINT: OnceLock<fn()> = OnceLock::new();

/// Has `check` called by [`checkpoint`] from now on; the first one given stays. It may unwind.
pub fn on_checkpoint(check: fn()) {
    // A second one would be the same: a program loads the engine once.
    let _ = CHECKPOINT.set(check);
}

/// Where long arithmetic without a [`Host`] at hand lets the program stop it. Costs a nanosecond; called only
/// while nothing is borrowed that an unwinding caller would leave locked.
#[inline]
pub fn checkpoint() {
    if let Some(check) = CHECKPOINT.get() {
        check();
    }
}

/// The program the engine runs in.
pub trait Host {
    /// Called between pieces of work.
    ///
    /// # Errors
    /// [`super::Error::Text`] with `Interrupted` when the caller wants to stop. A host may also unwind.
    fn checkpoint(&self) -> Result<()>;

    /// Runs `work`, which may load a library or start threads, so that no signal meant for the program
    /// reaches them: threads inherit the signal mask they are born with.
    fn shielded(&self, work: &mut dyn FnMut());

    /// Runs `work`, one uninterruptible call; should the caller want to stop meanwhile, the host calls
    /// `stop`, from wherever it notices (a signal handler too), and `work` returns soon after.
    fn watched(&self, stop: &dyn Stop, work: &mut dyn FnMut());

    /// Has sessions of the runtime that ask for it take the memory of tensors from the host. Whether they can.
    #[cfg(feature = "onnx")]
    fn lend_memory(&self, _environment: &Environment) -> bool {
        false
    }

    /// Where single texts may share runs with those of other processes; None where each runs its own.
    #[cfg(feature = "onnx")]
    fn batching(&self) -> Option<&dyn Batching> {
        None
    }
}

/// Ends a running call early. Must be safe to call from a signal handler: no allocation, no lock.
pub trait Stop: Sync {
    /// Asks the running call to return.
    fn stop(&self);
}

/// A host that never interrupts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unattended;

impl Host for Unattended {
    fn checkpoint(&self) -> Result<()> {
        Ok(())
    }

    fn shielded(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn watched(&self, _stop: &dyn Stop, work: &mut dyn FnMut()) {
        work();
    }
}
