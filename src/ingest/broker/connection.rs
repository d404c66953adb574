//! What the task that serves a connection knows of it: who it is, and its session. Noted by the entrance, the guard and
//! the sessions; asked by the hook with each message, so nothing here is shared or locked. Ends with the task.

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::sync::Arc;

use super::logins::Guest;
use super::sessions::Session;
use super::wire::Line;

/// A connection, as the task knows it that serves it.
struct Connection {
    ticket: u64,
    /// Who that turned out to be, once its CONNECT was taken.
    guest: OnceCell<Guest>,
    /// The way to its client from outside that task.
    line: Arc<Line>,
    /// From its CONNECT until its end.
    session: RefCell<Option<Arc<Session>>>,
}

tokio::task_local! {
    /// That of the present task.
    static PRESENT: Connection;
}

/// Serves the connection with this ticket and this way to its client: `handling` knows it as the present task's.
pub async fn serve<T>(ticket: u64, line: Arc<Line>, handling: impl Future<Output = T>) -> T {
    let (guest, session) = (OnceCell::new(), RefCell::new(None));
    PRESENT.scope(Connection { ticket, guest, line, session }, handling).await
}

/// The ticket of the present task's connection; none where it serves none.
pub fn ticket() -> Option<u64> {
    PRESENT.try_with(|present| present.ticket).ok()
}

/// The way to the client of the present task's connection.
pub fn line() -> Arc<Line> {
    PRESENT.try_with(|present| Arc::clone(&present.line)).unwrap_or_default()
}

/// Remembers who the connection of the present task is.
pub fn note_guest(guest: Guest) {
    let _ = PRESENT.try_with(|present| present.guest.set(guest));
}

/// Whether the connection of the present task is refused by silence, as its version wants it.
pub fn is_quiet() -> bool {
    PRESENT.try_with(|present| present.guest.get().is_some_and(|guest| guest.is_quiet)).unwrap_or(false)
}

/// Who the connection of the present task is, where anybody was asked.
pub fn guest() -> Option<Guest> {
    PRESENT.try_with(|present| present.guest.get().cloned()).ok().flatten()
}

/// The session of the present task's connection.
pub fn session() -> Option<Arc<Session>> {
    PRESENT.try_with(|present| present.session.borrow().clone()).ok().flatten()
}

/// Puts another in its place, or none, and says which was there.
pub fn change_session(session: Option<Arc<Session>>) -> Option<Arc<Session>> {
    PRESENT.try_with(|present| present.session.replace(session)).ok().flatten()
}
