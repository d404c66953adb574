//! What the settings say of history: whether heartbeats are kept, how long each kind is, and whether it is archived.
//! Used by app.rs; part of the start.

use std::sync::Arc;

use crate::exports::Exports;
use crate::fleet::heartbeat_log::HeartbeatLog;
use crate::fleet::keeper::{Ages, Archivist, Rules};
use crate::fleet::persister::Persister;
use crate::settings::{HeartbeatsKept, History, Retention};
use crate::store::Store;
use crate::store::retention::Kind;

/// The heartbeat log, unless it is off.
pub fn log(settings: &History, store: &Arc<dyn Store>, persister: &Persister) -> Option<HeartbeatLog> {
    let sampled = match settings.heartbeats {
        HeartbeatsKept::Off => return None,
        HeartbeatsKept::Sampled => true,
        HeartbeatsKept::All => false,
    };
    let reach = settings.retention.heartbeats.0;
    Some(HeartbeatLog::start(Arc::clone(store), persister.health(), sampled, (reach > 0).then_some(reach)))
}

/// What the keeper is asked to do.
pub fn rules(settings: &History, exports: &Exports) -> Rules {
    let archivist = settings.archive.then(|| Arc::new(exports.archive()) as Arc<dyn Archivist>);
    Rules { ages: ages(&settings.retention), every: settings.keeper_interval.std(), archivist }
}

/// How long each kind is kept; what is kept for ever is not in it.
pub fn ages(retention: &Retention) -> Ages {
    let ages = [
        (Kind::Transitions, retention.transitions),
        (Kind::Heartbeats, retention.heartbeats),
        (Kind::Minutes, retention.statistics_minutes),
    ];
    ages.into_iter().filter(|(_, age)| age.0 > 0).map(|(kind, age)| (kind, age.0)).collect()
}
