//! What every store must do: one suite, run on SQLite in a file, SQLite in memory, and Postgres.
//! Fed by `cargo test`; Postgres takes part when `ROLLCALL_TEST_POSTGRES` holds the URL of a superuser.

mod access;
mod archive;
mod exports;
mod gaps;
mod heartbeats;
mod histories;
mod logins;
mod mosquitto;
mod pages;
mod past;
mod registry;
mod repairs;
mod retention;
pub mod samples;
mod scan;
mod stats;

mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use super::{Store, StoredVehicle, open};

/// A database that outlives the stores opened on it.
pub enum Database {
    File(TempDir),
    Memory,
    Postgres { admin: String, name: String },
}

impl Database {
    pub fn file() -> Self {
        Self::File(TempDir::new().unwrap())
    }

    /// A fresh database on the server for tests; none when there is no server, which `CI=true` does not accept.
    pub async fn postgres() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let Ok(admin) = std::env::var("ROLLCALL_TEST_POSTGRES") else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI runs must set ROLLCALL_TEST_POSTGRES");
            eprintln!("skipped: ROLLCALL_TEST_POSTGRES is not set");
            return None;
        };
        let name = format!("rollcall_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // An order that does not sort by bytes, so that a forgotten COLLATE "C" shows.
        let create = format!(
            r#"CREATE DATABASE {name} ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US' TEMPLATE template0"#
        );
        sql(&admin, create).await;
        Some(Self::Postgres { admin, name })
    }

    pub fn url(&self) -> String {
        match self {
            Self::File(folder) => format!("sqlite:{}", folder.path().join("new/folder/fleet.db").display()),
            Self::Memory => "sqlite::memory:".into(),
            Self::Postgres { admin, name } => {
                let (server, _) = admin.rsplit_once('/').unwrap();
                format!("{server}/{name}")
            }
        }
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        open(&self.url()).await.unwrap()
    }

    pub async fn drop(self: Arc<Self>) {
        if let Self::Postgres { admin, name } = &*self {
            sql(admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

/// Runs SQL on a connection of its own.
pub async fn sql(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Runs SQL by hand, whatever the tables' checks say where that can be switched off.
pub async fn by_hand(database: &Database, statement: &str) {
    match database {
        Database::File(_) => {
            let url = format!("sqlite:{}", database.url().trim_start_matches("sqlite:"));
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            let statement = format!("PRAGMA ignore_check_constraints = on; {statement}");
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        Database::Memory => panic!("nobody else reaches it"),
        Database::Postgres { .. } => {
            let drop = "ALTER TABLE vehicle DROP CONSTRAINT IF EXISTS vehicle_status_check;";
            sql(&database.url(), format!("{drop} {statement}")).await;
        }
    }
}

/// Every vehicle of a store, in the order it hands them over.
async fn vehicles(store: &dyn Store) -> Vec<StoredVehicle> {
    let mut all = Vec::new();
    store.load_vehicles(&mut |vehicle| all.push(vehicle)).await.unwrap();
    all
}

/// Each case becomes a test on each store; the database goes away also when the case fails.
macro_rules! on_every_store {
    ($($file:ident: $($case:ident),* ;)*) => {
        mod sqlite_file {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let database = std::sync::Arc::new(super::Database::file());
                super::$file::$case(database).await;
            })*)*
        }
        mod sqlite_memory {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$file::$case(std::sync::Arc::new(super::Database::Memory)).await;
            })*)*
        }
        mod postgres {
            use futures_util::FutureExt;
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let Some(database) = super::Database::postgres().await else { return };
                let database = std::sync::Arc::new(database);
                let case = super::$file::$case(std::sync::Arc::clone(&database));
                let outcome = std::panic::AssertUnwindSafe(case).catch_unwind().await;
                database.drop().await;
                outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            })*)*
        }
    };
}

on_every_store! {
    writes: a_fresh_store_is_empty, a_database_has_a_name_of_its_own_that_stays,
        who_takes_the_store_over_ends_the_writes_of_the_one_before, a_batch_is_read_back_whole,
        a_batch_written_twice_counts_once,
        batches_that_overlap_or_come_in_the_wrong_order_change_nothing, a_large_batch_is_one_transaction,
        two_commits_at_once_of_different_vehicles_are_both_whole,
        checkpoints_only_move_forward, a_checkpoint_does_not_create_a_vehicle,
        a_checkpoint_keeps_what_it_does_not_bring, an_announced_sleep_is_kept_with_its_heartbeat,
        a_part_of_a_checkpoint_promises_nothing,
        a_transition_keeps_what_a_later_checkpoint_wrote, reopening_keeps_everything, two_stores_share_a_database,
        readers_see_whole_batches_while_a_writer_writes, a_write_whose_caller_left_is_finished,
        a_closed_store_says_so, more_vehicles_than_one_read_are_loaded_in_order;
    gaps: a_gap_is_opened_and_closed, open_gaps_are_ended_after_a_crash, gaps_are_found_by_overlap;
    pages: filters_are_exact, pages_are_complete_and_without_repeats, a_page_goes_on_after_a_name_outside_its_filter;
    registry: rows_are_made_changed_and_left_alone, conditions_are_held_in_the_store, an_import_is_all_or_nothing,
        who_left_stays_away_and_its_history_stays, a_purged_history_is_gone_and_stays_gone,
        a_vehicle_is_given_away_with_what_is_registered_of_it, customers_are_made_changed_and_removed,
        many_vehicles_are_registered_at_once;
    mosquitto: a_hash_is_kept_for_each_key_and_the_last_one_counts;
    access: a_key_is_kept_whole_and_its_identifier_once, a_key_is_revoked_once_and_every_change_is_seen,
        uses_of_keys_only_move_forward, all_keys_and_users_of_a_customer_end_and_no_other,
        the_audit_is_read_newest_first_and_by_customer, the_audit_is_bounded;
    logins: a_user_is_kept_whole_and_a_login_once, a_change_of_a_user_ends_its_sessions_and_no_other,
        a_session_begins_once_makes_room_and_ends,
        a_user_of_a_provider_is_one_whatever_its_name_and_keeps_the_session_it_has;
    exports: an_order_is_kept_whole_once_and_no_more_than_so_many, the_oldest_has_its_turn_and_each_tenant_its_share,
        a_try_whose_lease_was_lost_writes_nothing_more, a_failed_try_waits_and_the_last_one_is_the_end,
        an_export_is_cancelled_expires_and_is_forgotten;
    scan: a_vehicles_history_is_read_from_its_beginning, whoever_has_history_is_found_in_order_also_who_has_left;
    repairs: a_row_that_was_changed_by_hand_is_mended, every_slice_is_looked_at;
    heartbeats: a_heartbeat_is_read_back_whole, heartbeats_that_come_twice_count_once_and_equal_ones_do_not,
        pages_of_heartbeats_are_complete_in_either_order, heartbeats_go_with_a_purged_history_and_stay_otherwise;
    past: vehicles_stood_as_their_last_transition_before_says, turns_of_a_period_reach_back_to_the_one_in_force,
        a_vehicle_that_left_was_not_there_until_it_came_back;
    retention: old_transitions_go_but_for_the_last_of_each_vehicle, what_is_not_counted_yet_stays,
        old_heartbeats_go_by_the_day, old_minutes_go_and_what_was_spent_stays_exact,
        a_number_is_there_once_though_it_comes_with_another_time;
    archive: a_month_of_transitions_is_in_one_file_and_what_is_late_in_another,
        a_file_that_never_ended_is_given_up_and_begun_again,
        a_day_of_heartbeats_is_in_one_file_and_what_is_late_in_another, a_day_of_minutes_stands_still_in_its_file;
    stats: who_left_is_in_no_level_and_a_purged_history_is_uncounted,
        what_was_spent_before_any_instant_is_exact, rollups_are_a_function_of_the_stored_transitions,
        levels_at_any_border_are_the_sum_of_what_changed_before, heartbeats_are_added_once,
        nothing_is_known_of_the_time_before_the_first_start;
    histories: a_vehicle_is_the_fold_of_its_transitions, facts_end_the_same_in_any_order_through_checkpoints;
}
