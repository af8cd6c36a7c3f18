use std::collections::HashSet;

use proptest::prelude::*;

use super::super::event::parse_fields;
use super::*;

const DEFAULT: &str = "SOCKS_USERNAME,SOCKS_PASSWORD,CLIENTADDR,SESSION_GROUP,NYM_EPOCH";

fn groups() -> IsolationGroups {
    IsolationGroups::new([7; 64])
}

fn of(text: &str) -> EventFields {
    parse_fields(text).unwrap()
}

/// A stream as it comes from a port with default flags.
fn stream(user: &str, epoch: u64) -> EventFields {
    of(&format!(
        "CLIENTADDR=127.0.0.1 CLIENTPORT=1 SOCKS_USERNAME=\"{user}\" SOCKS_PASSWORD=\"p\" NYM_EPOCH={epoch} \
         SESSION_GROUP=-4 CLIENT_PROTOCOL=SOCKS5 ISO_FIELDS={DEFAULT}"
    ))
}

fn id(groups: &mut IsolationGroups, text: &str) -> IsolationId {
    groups.assign(&of(text)).id
}

#[test]
fn streams_of_one_user_share_and_others_do_not() {
    let mut groups = groups();
    let alice = groups.assign(&stream("alice", 1));
    assert!(!alice.alone);
    assert_eq!(groups.assign(&stream("alice", 1)), alice);
    let bob = groups.assign(&stream("bob", 1));
    assert_ne!(bob.id, alice.id);
    assert_eq!(groups.len(), 2);
    let text = String::from_utf8(alice.id.as_bytes().to_vec()).unwrap();
    assert_eq!(text, format!("{}-1", "07".repeat(32)), "no user data is in it");
}

#[test]
fn a_new_epoch_forgets_and_an_old_one_is_alone() {
    let mut groups = groups();
    let old = [
        groups.assign(&stream("alice", 1)).id,
        groups.assign(&stream("bob", 1)).id,
    ];
    let new = groups.assign(&stream("alice", 2));
    let forgotten: HashSet<_> = new.forgotten.iter().cloned().collect();
    assert_eq!(forgotten, HashSet::from(old.clone()));
    assert!(!old.contains(&new.id));
    let late = groups.assign(&stream("alice", 1));
    assert!(late.alone && late.forgotten.is_empty() && !old.contains(&late.id) && late.id != new.id);
    assert_eq!(
        groups.assign(&stream("alice", 2)).id,
        new.id,
        "the late one forgot nothing"
    );
}

#[test]
fn what_says_too_little_is_alone() {
    for text in [
        "",
        "NYM_EPOCH=1",
        "ISO_FIELDS=SESSION_GROUP SESSION_GROUP=-4",
        "NYM_EPOCH=x ISO_FIELDS=",
        // The line that had the client's address was missed.
        "NYM_EPOCH=1 ISO_FIELDS=CLIENTADDR",
        "NYM_EPOCH=1 ISO_FIELDS=CLIENT_PROTOCOL",
    ] {
        let mut groups = groups();
        let (first, second) = (groups.assign(&of(text)), groups.assign(&of(text)));
        assert!(first.alone && second.alone && first.id != second.id, "{text}");
        assert!(groups.is_empty());
    }
}

#[test]
fn lacking_on_both_sides_is_equal_and_on_one_is_not() {
    let mut groups = groups();
    let iso = "NYM_EPOCH=1 ISO_FIELDS=SOCKS_USERNAME";
    let nobody = id(&mut groups, iso);
    assert_eq!(id(&mut groups, iso), nobody);
    let empty = id(&mut groups, &format!("{iso} SOCKS_USERNAME=\"\""));
    assert_ne!(empty, nobody);
    assert_ne!(id(&mut groups, &format!("{iso} SOCKS_USERNAME=\"a\"")), nobody);
}

/// StemNS compares with a group's founder alone, so that the third stream here would join.
#[test]
fn a_stream_that_joins_tightens_the_group() {
    let mut groups = groups();
    let first = id(
        &mut groups,
        "NYM_EPOCH=1 DESTADDR=x ISO_FIELDS=SESSION_GROUP SESSION_GROUP=-4",
    );
    let joins = id(
        &mut groups,
        "NYM_EPOCH=1 DESTADDR=x ISO_FIELDS=SESSION_GROUP,DESTADDR SESSION_GROUP=-4",
    );
    assert_eq!(first, joins);
    let third = id(
        &mut groups,
        "NYM_EPOCH=1 DESTADDR=y ISO_FIELDS=SESSION_GROUP SESSION_GROUP=-4",
    );
    assert_ne!(first, third, "the second is isolated by what they differ in");
}

#[test]
fn a_stream_can_not_join_where_members_differ_in_what_it_is_isolated_by() {
    let mut groups = groups();
    let plain = |dest: &str| format!("NYM_EPOCH=1 DESTADDR={dest} ISO_FIELDS=SESSION_GROUP SESSION_GROUP=-4");
    let first = id(&mut groups, &plain("x"));
    assert_eq!(id(&mut groups, &plain("y")), first);
    for dest in ["x", "y", "z"] {
        let strict = format!("NYM_EPOCH=1 DESTADDR={dest} ISO_FIELDS=SESSION_GROUP,DESTADDR SESSION_GROUP=-4");
        assert_ne!(id(&mut groups, &strict), first, "{dest}");
    }
}

#[test]
fn groups_are_bounded() {
    let mut groups = groups();
    let first = groups.assign(&stream("0", 1)).id;
    let mut forgotten = Vec::new();
    for user in 1..=MAX_GROUPS {
        forgotten.extend(groups.assign(&stream(&user.to_string(), 1)).forgotten);
    }
    assert_eq!(groups.len(), MAX_GROUPS);
    assert_eq!(forgotten, std::slice::from_ref(&first));
    assert_ne!(
        groups.assign(&stream("0", 1)).id,
        first,
        "a forgotten ID is never used again"
    );
}

#[test]
fn shapes_are_bounded() {
    let mut groups = groups();
    for number in 0..MAX_SHAPES + 10 {
        let assigned = groups.assign(&of(&format!("NYM_EPOCH=1 X{number}=1 ISO_FIELDS=X{number}")));
        assert_eq!(assigned.alone, number >= MAX_SHAPES);
    }
    let many: Vec<String> = (0..=MAX_ISOLATED).map(|number| format!("X{number}")).collect();
    assert!(
        groups
            .assign(&of(&format!("NYM_EPOCH=1 ISO_FIELDS={}", many.join(","))))
            .alone
    );
}

/// Tor's rule for two streams, written down plainly.
fn are_compatible(one: &EventFields, other: &EventFields) -> bool {
    let isolated = |fields: &EventFields| -> HashSet<String> {
        let list = String::from_utf8(fields.get("ISO_FIELDS").unwrap().to_vec()).unwrap();
        list.split(',')
            .filter(|field| !field.is_empty())
            .map(str::to_owned)
            .collect()
    };
    isolated(one)
        .union(&isolated(other))
        .all(|field| one.get(field) == other.get(field))
}

/// The groups as plain lists of streams, of which the first is taken whose every member is compatible.
#[derive(Default)]
struct Model(Vec<Vec<EventFields>>);

impl Model {
    fn assign(&mut self, stream: &EventFields) -> usize {
        let fits = |group: &Vec<EventFields>| group.iter().all(|member| are_compatible(member, stream));
        let at = self.0.iter().position(fits).unwrap_or(self.0.len());
        if at == self.0.len() {
            self.0.push(Vec::new());
        }
        self.0[at].push(stream.clone());
        at
    }
}

fn any_stream() -> impl Strategy<Value = EventFields> {
    let value = || prop::option::of(0..2_u8);
    let isolated = prop::sample::subsequence(vec!["A", "B", "C", "D"], 0..=4);
    ([value(), value(), value(), value()], isolated).prop_map(|(values, isolated)| {
        let mut fields = of(&format!("NYM_EPOCH=1 ISO_FIELDS={}", isolated.join(",")));
        for (name, value) in ["A", "B", "C", "D"].iter().zip(values) {
            if let Some(value) = value {
                fields.add(name, value.to_string().as_bytes());
            }
        }
        fields
    })
}

proptest! {
    #[test]
    fn the_rule_is_symmetrical(one in any_stream(), other in any_stream()) {
        let together = |first: &EventFields, second: &EventFields| {
            let mut groups = groups();
            groups.assign(first).id == groups.assign(second).id
        };
        prop_assert_eq!(together(&one, &other), together(&other, &one));
        prop_assert_eq!(together(&one, &other), are_compatible(&one, &other));
    }

    #[test]
    fn groups_are_those_of_the_plain_rule(streams in prop::collection::vec(any_stream(), 0..40)) {
        let (mut groups, mut model) = (groups(), Model::default());
        let mut ids = Vec::new();
        for stream in &streams {
            let (assigned, at) = (groups.assign(stream), model.assign(stream));
            if at == ids.len() {
                prop_assert!(!ids.contains(&assigned.id), "no group has another's ID");
                ids.push(assigned.id);
            } else {
                prop_assert_eq!(&assigned.id, &ids[at]);
            }
        }
        for group in &model.0 {
            for one in group {
                prop_assert!(group.iter().all(|other| are_compatible(one, other)));
            }
        }
        prop_assert_eq!(groups.len(), ids.len());
    }
}
