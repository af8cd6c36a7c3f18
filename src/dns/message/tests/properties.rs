//! What holds for any bytes and any reply.

use proptest::prelude::*;

use super::*;

fn names() -> impl Strategy<Value = Name> {
    let label = prop::collection::vec(any::<u8>(), 1..30);
    prop::collection::vec(label, 0..7).prop_map(|labels| Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap())
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let data = prop_oneof![
        any::<Ipv4Addr>().prop_map(|address| RData::A(A(address))),
        names().prop_map(|target| RData::NS(NS(target))),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..256), 1..3).prop_map(|strings| {
            let strings = strings.iter().map(Vec::as_slice).collect();
            RData::TXT(TXT::from_bytes(strings))
        }),
        (names(), names()).prop_map(|(server, mailbox)| RData::SOA(SOA::new(server, mailbox, 1, 2, 3, 4, 5))),
    ];
    let record = (names(), any::<u32>(), data).prop_map(|(owner, ttl, data)| Record::from_rdata(owner, ttl, data));
    prop::collection::vec(record, 0..12)
}

proptest! {
    #[test]
    fn replies_are_decoded_as_they_were_meant(
        asked in names(),
        sections in prop::array::uniform3(records()),
        life in prop_oneof![Just(u32::MAX), any::<u32>()],
        payload in prop::option::of(any::<u16>()),
        id in prop::collection::vec(any::<u8>(), 0..1024),
        tcp in any::<bool>(),
        echo in any::<bool>(),
    ) {
        let mut request = Message::query();
        request.queries.push(op::Query::query(asked, RecordType::A));
        request.edns = payload.map(|payload| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            edns.options_mut().insert(EdnsOption::Unknown(ISOLATION_OPTION, id));
            edns
        });
        let query = query_of(&request);
        let [answers, authorities, additionals] = sections;
        let reply = Reply { answers, authorities, additionals, life, ..Reply::bare(ResponseCode::NXDomain) };
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let bytes = write(&query, &reply, transport, echo);
        let limit = match payload {
            _ if tcp => 65535,
            Some(payload) => usize::from(payload).clamp(512, 1232),
            None => 512,
        };
        prop_assert!(bytes.len() <= limit);
        let message = decoded(&bytes);
        prop_assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
        prop_assert_eq!(&message.queries, &request.queries);
        prop_assert_eq!(message.edns.is_some(), payload.is_some());
        if message.metadata.truncation {
            prop_assert!(!tcp && message.additionals.is_empty());
        } else {
            prop_assert_eq!(&message.answers, &reply.answers);
            prop_assert_eq!(&message.authorities, &reply.authorities);
            prop_assert!(message.additionals.is_empty() || message.additionals == reply.additionals);
            prop_assert!(message.all_sections().all(|record| record.ttl <= life));
        }
    }

    #[test]
    fn any_bytes_are_read(mut bytes in prop::collection::vec(any::<u8>(), 0..200), as_query in any::<bool>()) {
        if as_query && bytes.len() > 12 {
            bytes[2] &= 1;
            let additionals = bytes[11] & 1;
            bytes[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, additionals]);
        }
        match read(&bytes) {
            Incoming::Query(query) => {
                let reply = write(&query, &answer(addresses("example.bit.", 100)), Transport::Udp, true);
                prop_assert!(reply.len() <= 1232);
                prop_assert_eq!(&reply[..2], &bytes[..2]);
            }
            Incoming::Refused(reply) => {
                prop_assert!(reply.len() <= 1232);
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(reply[2] & 0x80 != 0);
            }
            Incoming::Ignored => {}
        }
    }
}
