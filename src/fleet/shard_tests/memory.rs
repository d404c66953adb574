//! A store in memory that can be made to fail, for the tests of the actors together.
//! Fed by the fleet under test; holds transitions and kept heartbeats, and forgets everything else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::domain::access::{KeyId, SessionId};
use crate::domain::export::ExportId;
use crate::domain::ids::VehicleKey;
use crate::domain::logged::Logged;
use crate::domain::registration::CustomerEdits;
use crate::domain::statistics::Levels;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::access::{AccessStore, StoredKey};
use crate::store::archive::{ArchiveStore, Archived, Part, Raw};
use crate::store::audit::{AuditEntry, AuditStore};
use crate::store::exports::{Claim, Done, Ending, ExportQuery, ExportStore, StoredExport, Try};
use crate::store::heartbeats::{HeartbeatQuery, HeartbeatStore, HeartbeatSweep, Kept};
use crate::store::history::{HistoryStore, Name, Past, Turn};
use crate::store::logins::{LoginStore, StoredSession, StoredUser};
use crate::store::mosquitto::MosquittoStore;
use crate::store::registry::{
    Amended, Condition, Departure, Each, Outcome, Parts, RegistryStore, Transfer, decide_customer,
};
use crate::store::retention::{Kind, Mark, RetentionStore, Step};
use crate::store::scan::{Log, ScanStore, Span};
use crate::store::stats::{Beats, RollupQuery, Rollups, StatsStore};
use crate::store::{Checkpoint, ObservationGap, Repair, Store, StoredCustomer, StoredVehicle, TransitionQuery};

/// What it starts with, and what was stored since.
#[derive(Default)]
pub struct Memory {
    pub broken: AtomicBool,
    pub alive_until: Option<Millis>,
    pub vehicles: Vec<StoredVehicle>,
    pub gaps: Vec<ObservationGap>,
    pub transitions: Mutex<Vec<Transition>>,
    pub heartbeats: Mutex<Vec<Kept>>,
    /// How often it was given heartbeats.
    pub asked: AtomicUsize,
}

impl Memory {
    fn answer(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.broken.load(Ordering::Relaxed), "broken on purpose");
        Ok(())
    }
}

#[async_trait]
impl Store for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }
    async fn identity(&self) -> anyhow::Result<String> {
        Ok("memory".into())
    }
    async fn take_over(&self) -> anyhow::Result<()> {
        Ok(())
    }
    async fn load_customers(&self) -> anyhow::Result<Vec<StoredCustomer>> {
        Ok(Vec::new())
    }
    async fn vehicles_after(&self, last: Option<Arc<VehicleKey>>) -> anyhow::Result<Vec<StoredVehicle>> {
        Ok(if last.is_none() { self.vehicles.clone() } else { Vec::new() })
    }
    async fn alive_until(&self) -> anyhow::Result<Option<Millis>> {
        Ok(self.alive_until)
    }
    async fn commit(&self, transitions: &[Transition]) -> anyhow::Result<()> {
        self.answer()?;
        self.transitions.lock().extend_from_slice(transitions);
        Ok(())
    }
    async fn checkpoint(&self, _: &[Checkpoint], _: Millis) -> anyhow::Result<()> {
        self.answer()
    }
    async fn heard(&self, _: &[Checkpoint]) -> anyhow::Result<()> {
        self.answer()
    }
    async fn repair(&self, _: Option<&VehicleKey>, _: u32) -> anyhow::Result<Repair> {
        Ok(Repair::default())
    }
    async fn record_gap(&self, _: &ObservationGap) -> anyhow::Result<()> {
        self.answer()
    }
    async fn close_open_gaps(&self, _: Millis) -> anyhow::Result<()> {
        self.answer()
    }
    async fn gaps(&self, _: Millis, _: Millis) -> anyhow::Result<Vec<ObservationGap>> {
        Ok(self.gaps.clone())
    }
    async fn transitions(&self, _: &TransitionQuery) -> anyhow::Result<Vec<Transition>> {
        Ok(self.transitions.lock().clone())
    }
    async fn ping(&self) -> anyhow::Result<()> {
        self.answer()
    }
    async fn close(&self) {}
}

#[async_trait]
impl RegistryStore for Memory {
    async fn amend(&self, _: Parts, _: Each, _: bool) -> anyhow::Result<()> {
        self.answer()
    }
    async fn remove(&self, departures: &[Departure]) -> anyhow::Result<Vec<bool>> {
        self.answer()?;
        Ok(vec![true; departures.len()])
    }
    async fn transfer(&self, _: &Departure, _: &Arc<VehicleKey>) -> anyhow::Result<Option<Amended>> {
        Ok(None)
    }
    async fn transfers(&self, _: &VehicleKey) -> anyhow::Result<Vec<Transfer>> {
        Ok(Vec::new())
    }
    async fn load_departed(&self) -> anyhow::Result<Vec<(VehicleKey, u64)>> {
        Ok(Vec::new())
    }
    async fn forget_purged(&self) -> anyhow::Result<()> {
        self.answer()
    }
    async fn amend_customer(
        &self,
        customer: &str,
        edits: &CustomerEdits,
        condition: Condition,
    ) -> anyhow::Result<(Outcome, StoredCustomer)> {
        self.answer()?;
        Ok(decide_customer(None, customer, edits, condition))
    }
    async fn remove_customer(&self, _: &str, _: Millis) -> anyhow::Result<bool> {
        self.answer()?;
        Ok(true)
    }
}

#[async_trait]
impl HistoryStore for Memory {
    async fn stood(&self, vehicles: &[Name], _: Millis) -> anyhow::Result<Vec<Past>> {
        Ok(vec![Past::default(); vehicles.len()])
    }
    async fn turns(&self, vehicles: &[Name], _: Millis, _: Millis) -> anyhow::Result<Vec<Vec<Turn>>> {
        self.answer().map(|()| vec![Vec::new(); vehicles.len()])
    }
}

#[async_trait]
impl RetentionStore for Memory {
    async fn prepare(&self, _: Millis) -> anyhow::Result<()> {
        self.answer()
    }
    async fn load_horizons(&self) -> anyhow::Result<Vec<(Kind, Millis)>> {
        self.answer().map(|()| Vec::new())
    }
    async fn drop_some(&self, _: Kind, _: Millis, _: Option<&Mark>) -> anyhow::Result<Step> {
        self.answer().map(|()| Step::default())
    }
}

/// Nothing is old enough.
#[async_trait]
impl ArchiveStore for Memory {
    async fn set_archiving(&self, _: bool) -> anyhow::Result<()> {
        self.answer()
    }
    async fn archived_until(&self, _: Kind) -> anyhow::Result<Option<Millis>> {
        self.answer().map(|()| None)
    }
    async fn next_part(&self, _: Kind, _: Millis) -> anyhow::Result<Option<Part>> {
        self.answer().map(|()| None)
    }
    async fn begin_file(&self, _: &Part, _: &str, _: Millis) -> anyhow::Result<Option<Vec<String>>> {
        self.answer().map(|()| None)
    }
    async fn part_rows(&self, _: &Part, _: &str, _: Option<&Mark>, _: u32) -> anyhow::Result<Vec<Raw>> {
        self.answer().map(|()| Vec::new())
    }
    async fn end_file(&self, _: &Archived) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn note_stand_in(&self, _: &Archived) -> anyhow::Result<()> {
        self.answer()
    }
    async fn replace_file(&self, _: &Archived, _: &Archived) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn forget_file(&self, _: &str) -> anyhow::Result<()> {
        self.answer()
    }
    async fn archived_files(&self) -> anyhow::Result<Vec<Archived>> {
        self.answer().map(|()| Vec::new())
    }
}

#[async_trait]
impl HeartbeatStore for Memory {
    async fn log_heartbeats(&self, number: i64, beats: &[Logged]) -> anyhow::Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer()?;
        let mut log = self.heartbeats.lock();
        log.extend((number..).zip(beats.iter().cloned()).map(|(id, beat)| Kept { id, beat }));
        Ok(())
    }
    async fn heartbeats(&self, _: &HeartbeatQuery) -> anyhow::Result<Vec<Kept>> {
        Ok(self.heartbeats.lock().clone())
    }
    async fn heartbeats_in_order(&self, _: &HeartbeatSweep) -> anyhow::Result<Vec<Kept>> {
        Ok(self.heartbeats.lock().clone())
    }
}

#[async_trait]
impl StatsStore for Memory {
    async fn add_beats(&self, _: i64, _: &[Beats]) -> anyhow::Result<()> {
        self.answer()
    }
    async fn roll_up(&self, _: u32) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn rollups(&self, _: &RollupQuery) -> anyhow::Result<Rollups> {
        Ok(Rollups::default())
    }
    async fn spent(&self, _: Option<&str>, instants: &[Millis]) -> anyhow::Result<Vec<Levels>> {
        Ok(vec![Levels::default(); instants.len()])
    }
}

/// The fleet asks for neither keys nor audit.
#[async_trait]
impl AccessStore for Memory {
    async fn access_revision(&self) -> anyhow::Result<i64> {
        self.answer().map(|()| 0)
    }
    async fn load_keys(&self) -> anyhow::Result<Vec<StoredKey>> {
        self.answer().map(|()| Vec::new())
    }
    async fn add_key(&self, _: &StoredKey) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn revoke_key(&self, _: KeyId, _: Millis) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn end_access_of(&self, _: &str, _: Millis) -> anyhow::Result<()> {
        self.answer()
    }
    async fn note_key_uses(&self, _: &[(KeyId, Millis)]) -> anyhow::Result<()> {
        self.answer()
    }
}

#[async_trait]
impl MosquittoStore for Memory {
    async fn keep_mosquitto_hash(&self, _: KeyId, _: &str) -> anyhow::Result<()> {
        self.answer()
    }
    async fn mosquitto_hashes(&self) -> anyhow::Result<BTreeMap<KeyId, String>> {
        self.answer().map(|()| BTreeMap::new())
    }
}

#[async_trait]
impl AuditStore for Memory {
    async fn record(&self, _: &AuditEntry) -> anyhow::Result<()> {
        self.answer()
    }
    async fn audit(&self, _: Option<&str>, _: Option<i64>, _: u32) -> anyhow::Result<Vec<(i64, AuditEntry)>> {
        self.answer().map(|()| Vec::new())
    }
    async fn prune_audit(&self, _: Millis, _: u64) -> anyhow::Result<()> {
        self.answer()
    }
}

#[async_trait]
impl LoginStore for Memory {
    async fn login_revision(&self) -> anyhow::Result<i64> {
        self.answer().map(|()| 0)
    }
    async fn load_users(&self) -> anyhow::Result<Vec<StoredUser>> {
        self.answer().map(|()| Vec::new())
    }
    async fn load_sessions(&self) -> anyhow::Result<Vec<StoredSession>> {
        self.answer().map(|()| Vec::new())
    }
    async fn add_user(&self, _: &StoredUser) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn change_user(&self, _: &StoredUser, _: Option<SessionId>) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn add_session(&self, _: &StoredSession, _: &[SessionId]) -> anyhow::Result<()> {
        self.answer()
    }
    async fn end_sessions(&self, _: &[SessionId]) -> anyhow::Result<()> {
        self.answer()
    }
    async fn note_session_uses(&self, _: &[(SessionId, Millis)]) -> anyhow::Result<()> {
        self.answer()
    }
}

#[async_trait]
impl ScanStore for Memory {
    async fn customers_in(&self, _: Log, _: &str, _: u32) -> anyhow::Result<Vec<String>> {
        self.answer().map(|()| Vec::new())
    }
    async fn vehicles_in(&self, _: Log, _: &Name, _: u32) -> anyhow::Result<Vec<String>> {
        self.answer().map(|()| Vec::new())
    }
    async fn transitions_forward(
        &self,
        _: &Name,
        _: Span,
        _: Option<(Millis, u64)>,
    ) -> anyhow::Result<Vec<Transition>> {
        self.answer().map(|()| Vec::new())
    }
}

/// Nor does it order files.
#[async_trait]
impl ExportStore for Memory {
    async fn add_export(&self, _: &StoredExport, _: u32) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn export(&self, _: ExportId) -> anyhow::Result<Option<StoredExport>> {
        self.answer().map(|()| None)
    }
    async fn exports(&self, _: &ExportQuery) -> anyhow::Result<Vec<StoredExport>> {
        self.answer().map(|()| Vec::new())
    }
    async fn claim_export(&self, _: &Claim) -> anyhow::Result<Option<StoredExport>> {
        self.answer().map(|()| None)
    }
    async fn hold_export(&self, _: Try, _: Millis, _: Done) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn finish_export(&self, _: Try, _: &str, _: Done, _: Millis, _: Millis) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn end_export(&self, _: Try, _: &Ending, _: Option<&str>) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn cancel_export(&self, _: ExportId, _: Millis) -> anyhow::Result<bool> {
        self.answer().map(|()| false)
    }
    async fn forget_export(&self, _: ExportId) -> anyhow::Result<()> {
        self.answer()
    }
    async fn due_to_expire(&self, _: Millis, _: u32) -> anyhow::Result<Vec<StoredExport>> {
        self.answer().map(|()| Vec::new())
    }
    async fn end_exports_at(&self, _: &[ExportId], _: Millis) -> anyhow::Result<()> {
        self.answer()
    }
    async fn expire_export(&self, _: ExportId) -> anyhow::Result<()> {
        self.answer()
    }
    async fn prune_exports(&self, _: Millis) -> anyhow::Result<()> {
        self.answer()
    }
    async fn export_files(&self) -> anyhow::Result<(Vec<String>, u64)> {
        self.answer().map(|()| (Vec::new(), 0))
    }
}
