//! Tests of the board: pages, counts, searches and deltas against a naive list of vehicles.
//! Reads board.rs; invariants 6 and 8 start here.

use super::*;
use crate::domain::latest::Latest;
use crate::domain::policy::Policy;
use crate::domain::query::Statuses;
use crate::domain::sleep::Announced;
use proptest::prelude::*;
use std::collections::BTreeMap as Map;

fn update(slot: Slot, status: Status, last_seen: Millis) -> Update {
    let (latest, policy) = (Latest::default(), Policy::default());
    let announced = Announced::NONE;
    Update { slot, status, since: Some(last_seen), seq: 1, last_seen: Some(last_seen), announced, latest, policy }
}

fn join(board: &mut Board, slot: Slot, customer: &str, vehicle: &str) {
    let key = Arc::new(VehicleKey::parse(customer, vehicle).expect("key"));
    board.join(key, None, update(slot, Status::Online, 0));
}

fn small() -> Board {
    let mut board = Board::default();
    for (slot, (customer, vehicle)) in [("b", "2"), ("a", "9"), ("b", "1"), ("a", "10")].into_iter().enumerate() {
        join(&mut board, slot as Slot, customer, vehicle);
    }
    board.publish();
    board
}

fn statuses(list: &str) -> Query {
    Query { filter: Filter::parse("", list).expect("list"), ..Query::default() }
}

#[test]
fn pages_follow_the_keys_and_end() {
    let board = small();
    let query = Query::default();
    assert_eq!(board.page(&query, None, 3).0, [3, 1, 2]);
    assert_eq!(board.page(&query, Some(("b", "1")), 3).0, [0]);
    assert!(board.page(&query, Some(("b", "2")), 3).0.is_empty());
    let only_b = Query { filter: Filter::parse("b", "").expect("filter"), ..Query::default() };
    assert_eq!(board.page(&only_b, None, 10).0, [2, 0]);
}

#[test]
fn a_page_stays_stable_while_vehicles_change_state() {
    let mut board = small();
    let first = board.page(&Query::default(), None, 2).0;
    board.apply(update(1, Status::Offline, 5));
    board.apply(update(2, Status::Offline, 5));
    let rest = board.page(&Query::default(), Some(("a", "9")), 10).0;
    assert_eq!((first, rest), (vec![3, 1], vec![2, 0]));
    assert_eq!(board.page(&statuses("offline"), None, 10).0, [1, 2]);
}

#[test]
fn moving_orders_are_told_with_ties_by_key() {
    let mut board = small();
    board.apply(update(0, Status::Offline, 7));
    board.apply(update(2, Status::Online, 3));
    let by_seen = |descending| board.order(&Query::default(), Sort::LastSeen { descending });
    assert_eq!((by_seen(false), by_seen(true)), (vec![3, 1, 2, 0], vec![0, 2, 3, 1]));
}

#[test]
fn names_and_tags_are_found() {
    let mut board = small();
    let key = Arc::new(VehicleKey::parse("c", "X-1").expect("key"));
    let registered =
        Registered { name: Some("Night Owl".into()), tags: ["reefer".into()].into(), ..Default::default() };
    board.join(key, Some(registered.into()), update(4, Status::NeverSeen, 0));
    let find = |text: Option<&str>, tag: Option<&str>| {
        let (text, tag) = (text.map(str::to_owned), tag.map(str::to_owned));
        board.page(&Query { text, tag, ..Query::default() }, None, 10).0
    };
    assert_eq!(
        (find(Some("t ow"), None), find(None, Some("reefer")), find(Some("1"), None)),
        (vec![4], vec![4], vec![3, 2, 4])
    );
    assert!(find(Some("x"), Some("dry")).is_empty());
}

#[test]
fn only_what_changed_is_new_after_a_version() {
    let mut board = small();
    let before = board.version();
    assert_eq!(board.publish(), before, "an empty tick is no version");
    board.apply(Update { seq: 1, ..update(1, Status::Online, 5) });
    board.publish();
    assert_eq!(board.changed_after(before), [1]);
    let row = board.row(1).expect("there");
    assert!(row.changed_after(Group::Seen, before) && !row.changed_after(Group::Place, before));
    assert!(!row.joined_after(before));
}

#[test]
fn what_is_registered_anew_is_found_and_pushed() {
    let mut board = small();
    let before = board.version();
    let names = |name: &str| Box::new(Registered { name: Some(name.into()), revision: 3, ..Default::default() });
    board.amend(1, names("Night Owl"));
    board.amend(1, names("Day Owl"));
    board.amend(99, names("nobody"));
    board.publish();
    assert_eq!(board.changed_after(before), [1]);
    let row = board.row(1).expect("there");
    assert!(row.changed_after(Group::Registry, before) && !row.changed_after(Group::Status, before));
    let find = |text: &str| board.page(&Query { text: Some(text.into()), ..Query::default() }, None, 10).0;
    assert_eq!((find("day"), find("night"), row.revision()), (vec![1], vec![], 3));
}

/// A vehicle may come under a name before the one that left it is taken from the board.
#[test]
fn who_comes_under_the_name_of_one_that_leaves_stays() {
    let mut board = small();
    join(&mut board, 4, "b", "2");
    board.remove(0);
    assert_eq!(board.find("b", "2").map(|row| row.state.slot), Some(4));
    assert_eq!((board.counts(&Filter::default()).total(), board.row(0).is_none()), (4, true));
}

/// R48: removals are told to a reader that was away, and a reader too long away is told to start again.
#[test]
fn removals_are_remembered_up_to_a_bound() {
    let mut board = small();
    let before = board.version();
    board.remove(1);
    board.publish();
    assert_eq!(board.removed_after(before).map(|(_, key)| key.to_string()).collect::<Vec<_>>(), ["a/9"]);
    assert!(board.row(1).is_none() && board.find("a", "9").is_none());
    for slot in 10..10 + REMOVALS_MAX as Slot {
        join(&mut board, slot, "z", &slot.to_string());
        board.remove(slot);
    }
    board.publish();
    assert!(!board.can_resume(before) && board.can_resume(board.version()));
    assert!(!board.knows_customer("z"));
}

#[derive(Debug, Clone)]
enum Step {
    Join(u8, u8),
    Status(u8, u8, i64),
    Remove(u8),
    Publish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..4u8, any::<u8>()).prop_map(|(customer, vehicle)| Step::Join(customer, vehicle)),
        6 => (any::<u8>(), 0..4u8, 0..9i64).prop_map(|(pick, status, seen)| Step::Status(pick, status, seen)),
        1 => any::<u8>().prop_map(Step::Remove),
        2 => Just(Step::Publish),
    ];
    proptest::collection::vec(step, 1..250)
}

/// What a reader would hold: vehicle by key.
type View = Map<String, (Status, Option<Millis>)>;

fn catch_up(view: &mut View, board: &Board, filter: &Filter, version: Version) {
    for (_, key) in board.removed_after(version) {
        view.remove(&key.to_string());
    }
    for row in board.changed_after(version).into_iter().filter_map(|slot| board.row(slot)) {
        match filter.allows(&row.key.customer, row.state.status) {
            true => drop(view.insert(row.key.to_string(), (row.state.status, row.state.last_seen))),
            false => drop(view.remove(&row.key.to_string())),
        }
    }
}

proptest! {
    /// Readers that catch up at different versions hold the board's truth; counts and pages agree with a plain list.
    #[test]
    fn every_reader_ends_with_the_boards_view(steps in steps(), pace in 1..40usize, wanted in 0..16u8) {
        let (mut board, mut plain) = (Board::default(), Map::new());
        let mut set = Statuses::default();
        Status::ALL.into_iter().filter(|s| wanted & (1 << *s as u8) != 0).for_each(|s| set.insert(s));
        let filter = Filter::of(vec!["c1".into(), "c2".into()], set).expect("filter");
        let (mut view, mut version, mut next) = (View::new(), 0, 0);
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Join(customer, vehicle) => {
                    let (customer, vehicle) = (format!("c{customer}"), format!("v{vehicle}"));
                    if board.find(&customer, &vehicle).is_none() {
                        join(&mut board, next, &customer, &vehicle);
                        plain.insert(next, (customer, vehicle, Status::Online, Some(0)));
                        next += 1;
                    }
                }
                Step::Status(pick, status, seen) => {
                    if let Some((slot, row)) = plain.iter_mut().nth(pick as usize) {
                        (row.2, row.3) = (Status::ALL[status as usize], Some(seen));
                        board.apply(update(*slot, row.2, seen));
                    }
                }
                Step::Remove(pick) => {
                    if let Some(slot) = plain.keys().nth(pick as usize).copied() {
                        plain.remove(&slot);
                        board.remove(slot);
                    }
                }
                Step::Publish => drop(board.publish()),
            }
            if i % pace == 0 {
                board.publish();
                catch_up(&mut view, &board, &filter, version);
                version = board.version();
            }
        }
        board.publish();
        catch_up(&mut view, &board, &filter, version);
        let shown = plain.values().filter(|row| filter.allows(&row.0, row.2));
        let want: View = shown.map(|row| (format!("{}/{}", row.0, row.1), (row.2, row.3))).collect();
        prop_assert_eq!(&view, &want);
        prop_assert_eq!(board.counts(&filter).total() as usize, want.len());
        let query = Query { filter: filter.clone(), text: None, tag: None };
        let page = board.page(&query, None, 1_000).0;
        let page: Vec<String> = page.iter().filter_map(|s| board.row(*s)).map(|r| r.key.to_string()).collect();
        let mut sorted: Vec<_> = plain.values().filter(|r| filter.allows(&r.0, r.2)).collect();
        sorted.sort_by_key(|row| (&row.0, &row.1));
        let sorted: Vec<String> = sorted.iter().map(|row| format!("{}/{}", row.0, row.1)).collect();
        prop_assert_eq!(page, sorted);
    }
}
