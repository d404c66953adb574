//! Where the queue of exports is kept: orders, who works on each, how each ended, and which files there are.
//! Fed by the exports station, the only one that works on them; read by REST.

use anyhow::{Context, anyhow};
use async_trait::async_trait;

use crate::domain::export::{ExportId, Order, State};
use crate::domain::time::Millis;

/// An export as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredExport {
    /// Which one.
    pub id: ExportId,
    /// Whose key ordered it; none: one for all customers.
    pub tenant: Option<String>,
    /// Who, for people.
    pub made_by: String,
    /// When.
    pub made_at: Millis,
    /// What was ordered.
    pub order: Order,
    /// Where it is on its way.
    pub state: State,
    /// Tries that were begun; the number of the present one.
    pub attempts: u32,
    /// How far it is.
    pub done: Done,
    /// Why the last try failed.
    pub error: Option<String>,
    /// The name of its file, once it is there.
    pub file: Option<String>,
    /// When the file goes.
    pub expires_at: Option<Millis>,
}

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Done {
    /// 0 to 1.
    pub progress: f64,
    /// Rows written.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// One try at an export: what writes about it has to name. When the try is not under way any more, because it was
/// cancelled or its lease taken over, the write changes nothing and answers `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// Which export.
    pub id: ExportId,
    /// Which try.
    pub attempt: u32,
}

/// Who wants work.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The present instant.
    pub now: Millis,
    /// The lease is until then.
    pub lease: Millis,
    /// What this process works on already.
    pub mine: Vec<ExportId>,
    /// Most that are worked on for one tenant at once.
    pub per_tenant: u32,
    /// One that was begun so often and never ended is given up.
    pub attempts_max: u32,
}

/// How a try ended that did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It is tried again at this instant.
    Again(Millis),
    /// It is given up, at this instant.
    Never(Millis),
    /// It was not its fault: the service stops. It is tried again at once, and this try does not count.
    GivenBack,
}

/// Which exports are listed.
#[derive(Debug, Clone, Default)]
pub struct ExportQuery {
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only those older than this one: made at, and identifier.
    pub before: Option<(Millis, ExportId)>,
    /// At most so many.
    pub limit: u32,
}

/// What the stores can do for exports. Every write may be repeated; [`Store`](super::Store) says what holds for these
/// futures.
#[async_trait]
pub trait ExportStore: Send + Sync {
    /// Keeps an order that waits for its turn. `false` when its tenant has `kept_max` that are not failed, cancelled or
    /// expired: then nothing is kept. One of this identifier that is there already stays as it is.
    async fn add_export(&self, export: &StoredExport, kept_max: u32) -> anyhow::Result<bool>;

    /// One export.
    async fn export(&self, id: ExportId) -> anyhow::Result<Option<StoredExport>>;

    /// One page, newest first.
    async fn exports(&self, query: &ExportQuery) -> anyhow::Result<Vec<StoredExport>>;

    /// Takes the one that has waited longest: its next try begins. Those whose worker died wait too, until they were
    /// begun too often; these are failed here.
    async fn claim_export(&self, claim: &Claim) -> anyhow::Result<Option<StoredExport>>;

    /// Says that somebody still works on it, and how far that one is.
    async fn hold_export(&self, which: Try, lease: Millis, done: Done) -> anyhow::Result<bool>;

    /// The file is there under this name, and goes at `expires`.
    async fn finish_export(
        &self,
        which: Try,
        file: &str,
        done: Done,
        now: Millis,
        expires: Millis,
    ) -> anyhow::Result<bool>;

    /// The try ended without a file, because of this.
    async fn end_export(&self, which: Try, ending: &Ending, error: Option<&str>) -> anyhow::Result<bool>;

    /// Cancels one that is not over yet; `false` when it is, or there is none.
    async fn cancel_export(&self, id: ExportId, now: Millis) -> anyhow::Result<bool>;

    /// Forgets one that is over.
    async fn forget_export(&self, id: ExportId) -> anyhow::Result<()>;

    /// At most so many finished ones whose file goes by now.
    async fn due_to_expire(&self, now: Millis, limit: u32) -> anyhow::Result<Vec<StoredExport>>;

    /// The files of these, as far as they are finished, go at this instant, if they do not go before.
    async fn end_exports_at(&self, ids: &[ExportId], at: Millis) -> anyhow::Result<()>;

    /// The file of a finished one is gone.
    async fn expire_export(&self, id: ExportId) -> anyhow::Result<()>;

    /// Forgets failed, cancelled and expired ones that ended before this instant.
    async fn prune_exports(&self, before: Millis) -> anyhow::Result<()>;

    /// The names of all files that have to be there, and their bytes together.
    async fn export_files(&self) -> anyhow::Result<(Vec<String>, u64)>;
}

/// What a try that ended without a file turns the row into: state, due, ended, and whether the try counts.
pub(super) struct EndingRow {
    pub state: &'static str,
    pub due: Option<Millis>,
    pub ended: Option<Millis>,
    pub uncounted: i64,
}

impl From<&Ending> for EndingRow {
    fn from(ending: &Ending) -> Self {
        let waits = State::NotStarted.word();
        match ending {
            Ending::Again(at) => Self { state: waits, due: Some(*at), ended: None, uncounted: 0 },
            Ending::Never(at) => Self { state: State::Failed.word(), due: None, ended: Some(*at), uncounted: 0 },
            Ending::GivenBack => Self { state: waits, due: None, ended: None, uncounted: 1 },
        }
    }
}

/// A count as the stores keep it.
pub(super) fn kept(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// An export as it lies in the table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct ExportRow {
    id: String,
    tenant: Option<String>,
    made_by: String,
    made_at_ms: Millis,
    what: String,
    state: String,
    attempts: i64,
    progress: f64,
    row_count: i64,
    bytes: i64,
    error: Option<String>,
    file: Option<String>,
    expires_ms: Option<Millis>,
}

/// The columns of [`ExportRow`].
macro_rules! export_columns {
    () => {
        "id, tenant, made_by, made_at_ms, what, state, attempts, progress, row_count, bytes, error, file, expires_ms"
    };
}
pub(super) use export_columns;

impl TryFrom<ExportRow> for StoredExport {
    type Error = anyhow::Error;

    fn try_from(row: ExportRow) -> anyhow::Result<Self> {
        let bad = |problem: &str| anyhow!("the stored export {} cannot be read: {problem}", row.id);
        Ok(Self {
            id: ExportId::parse(&row.id).with_context(|| bad("its identifier"))?,
            order: serde_json::from_str(&row.what).with_context(|| bad("its order"))?,
            state: State::parse(&row.state).map_err(|problem| bad(&problem))?,
            tenant: row.tenant,
            made_by: row.made_by,
            made_at: row.made_at_ms,
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            done: Done { progress: row.progress, rows: row.row_count.unsigned_abs(), bytes: row.bytes.unsigned_abs() },
            error: row.error,
            file: row.file,
            expires_at: row.expires_ms,
        })
    }
}
