//! Threads that come last, for what nobody waits for. Used by the exports, and by the store that reads for them.

/// How nice such a thread is: 10 is about a tenth of what others get, when there is not enough for all.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// This thread comes last from now on, and every thread that it starts.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("what can wait is done with the usual priority: {error}");
    }
}
