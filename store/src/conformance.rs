//! What every backend must do: one suite per trait, which checks what the traits' documentation promises. A backend's own
//! tests run it and add what only they can know (crashes, damaged files).
//!
//! A suite panics where a promise is broken, as a test does. It needs no runtime; [`block_on`] runs it for backends that
//! complete when polled.

#![expect(clippy::unwrap_used, reason = "the suites are tests; a backend's error must end them")]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;

mod accounts;
mod alerts;
mod boards;
mod builtins;
mod bus;
mod credits;
mod enrolment;
mod evidence;
mod health;
mod measurement_filters;
mod measurements;
mod orders;
mod participation;
mod people;
mod probe_filters;
mod probes;
mod quotas;
mod reachability;
mod results;
mod results_order;
mod target_updates;

pub use results::{Draft, batch_of};

use crate::bus::Bus;
use crate::{Catalog, Reachability, Results};

/// Where a backend keeps its data during one check.
#[async_trait]
pub trait Fixture<T: ?Sized + Send + Sync>: Send + Sync {
    /// Opens the store. Called again after what was opened before has been dropped, and then finds what that left.
    async fn open(&self) -> Arc<T>;
}

/// Runs a future that completes when it is polled first, as those of the embedded backends do.
///
/// # Panics
///
/// When it does not.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits for something; an embedded backend completes when it is polled"),
    }
}

macro_rules! suite {
    ($(#[$doc:meta])* $name:ident($store:ident): $($module:ident::$check:ident),+ $(,)?) => {
        $(#[$doc])*
        ///
        /// # Panics
        ///
        /// When a promise is broken.
        pub async fn $name<F: Fixture<dyn $store>>(make: impl Fn() -> F) {
            $($module::$check(&make()).await;)+
        }
    };
}

suite! {
    /// Checks a bus; `make` gives a new one each time.
    bus_suite(Bus): bus::everybody_hears_everything_in_order, bus::others_come_and_go
}

suite! {
    /// Checks a catalog; `make` gives an empty one each time.
    catalog_suite(Catalog):
        accounts::a_mail_address_has_one_account_in_any_case,
        accounts::a_disabled_account_has_no_keys,
        accounts::keys_are_found_by_their_digest,
        accounts::a_key_changes_whole_and_only_for_its_account,
        accounts::a_token_lets_one_key_join,
        accounts::a_token_is_good_until_it_expires,
        people::a_sign_up_becomes_an_account_when_it_is_confirmed,
        people::whoever_confirms_has_their_own_password,
        people::sign_ups_are_bounded_and_expire,
        people::an_invitation_lets_one_address_in_once,
        people::invitations_are_counted,
        people::a_reset_is_good_once_and_ends_sessions,
        people::a_disabled_account_has_no_way_in,
        people::sessions_end_by_time_by_choice_and_by_number,
        people::a_changed_password_ends_the_other_sessions,
        probes::a_session_is_the_probes_connection,
        probes::only_the_newest_session_disconnects_and_no_second_counts_twice,
        probes::a_collector_that_starts_ends_all_sessions,
        probes::families_are_shown_by_global_addresses,
        probes::session_addresses_are_kept,
        probes::lists_of_probes,
        probes::kinds_are_those_that_the_host_allows_now,
        probe_filters::what_owners_and_files_say_of_probes,
        probe_filters::probes_by_where_they_are,
        probe_filters::what_is_hidden_is_not_found_by_it_either,
        probe_filters::orders_of_probes,
        probe_filters::places_of_probes_are_those_of_the_grid,
        enrolment::a_waiting_key_is_claimed_by_its_code,
        enrolment::a_key_with_a_used_token_waits_for_the_tokens_owner,
        enrolment::waiting_is_bounded_by_network,
        enrolment::an_open_network_takes_probes_that_count_when_somebody_vouches,
        enrolment::a_probe_gets_another_key_from_its_owner,
        enrolment::a_probe_changes_its_key_itself,
        evidence::measurements_that_ask_the_probes_resolvers,
        evidence::the_newest_evidence_decides_on_resolvers,
        evidence::sessions_say_when_probes_were_there,
        evidence::anchors_come_and_go,
        health::what_a_probe_tells_is_kept,
        boards::how_boards_stand_is_kept,
        boards::what_becomes_of_releases_is_counted,
        measurements::what_was_asked_for_is_kept,
        measurements::measurements_made_together_are_a_group,
        measurements::nothing_is_half_made,
        measurements::lists_of_measurements,
        measurements::the_status_filter_agrees_with_the_status,
        measurements::a_search_takes_text_as_it_is,
        measurements::edits_change_what_is_said,
        target_updates::a_target_is_due_again_and_again,
        target_updates::other_addresses_are_other_orders,
        measurement_filters::every_filter_and_order,
        measurement_filters::texts_are_found_at_any_time,
        measurement_filters::those_alike_follow_the_direction_of_the_order,
        participation::who_joins_gets_an_order_and_who_leaves_loses_it,
        participation::no_more_take_part_than_may,
        participation::a_oneoff_waits_for_nobody_who_left,
        orders::an_order_says_what_was_asked_for,
        orders::the_revision_grows_with_every_change,
        orders::orders_end_by_time,
        orders::stopping_a_measurement,
        orders::settling_oneoffs,
        credits::first_credits_come_once,
        credits::nobody_gives_more_than_there_is,
        credits::a_transfer_with_a_key_happens_once,
        credits::results_are_charged_once,
        credits::connected_minutes_earn,
        credits::the_sum_of_all_is_always_zero,
        quotas::what_runs_is_summed_up,
        quotas::what_is_refused_is_not_made,
        quotas::a_request_with_a_key_takes_effect_once,
        orders::the_operator_stops_a_measurement,
        builtins::every_probe_makes_builtins_those_that_join_later_too,
        builtins::a_builtin_measures_the_same_for_ever,
        builtins::builtins_follow_the_probes_tags,
        builtins::builtins_follow_what_the_host_allows,
        builtins::whoever_is_the_target_takes_no_part,
        builtins::what_is_no_builtin_is_refused,
        alerts::a_rule_is_its_owners,
        alerts::a_state_and_what_is_told_of_it_come_together,
        alerts::a_delivery_is_due_until_it_is_over,
}

suite! {
    /// Checks a store of results; `make` gives an empty one each time.
    results_suite(Results):
        results::an_empty_store_knows_nothing,
        results::what_was_appended_is_there_and_stays,
        results::a_large_batch_is_whole,
        results::reports_are_kept_as_they_came,
        results::range_sets_are_united,
        results::a_boots_newest_record_counts,
        results::gaps_by_their_time_span,
        results::retention_drops_what_arrived_before,
        results::retention_of_everything_keeps_the_range_sets,
        results_order::a_scan_takes_times_and_probes,
        results_order::pages_hold_everything_once,
        results_order::a_scan_is_not_disturbed_by_appends,
        results_order::the_latest_are_the_newest_by_their_run,
        results_order::the_latest_within_a_query,
        results_order::looking_for_the_latest_may_stop_but_not_too_early,
        results_order::everything_that_arrives_is_counted_once,
}

suite! {
    /// Checks what keeps votes; `make` gives an empty one each time.
    reachability_suite(Reachability):
        reachability::what_was_said_last_counts,
        reachability::sums_are_those_of_all_votes,
        reachability::days_stay_when_votes_go,
        reachability::who_is_erased_has_never_said_anything,
}

/// 2026-11-21, midnight: the beginning of time in the checks.
const EPOCH: i64 = 1_795_219_200;

/// So many seconds after the beginning of time.
const fn at(seconds: i64) -> sonde_protocol::time::UnixNanos {
    sonde_protocol::time::UnixNanos::from_secs(EPOCH + seconds)
}
