//! The streams on a WebSocket: their rules, their filters, and who sees what.

use serde_json::{Value, json};
use sonde_api::{ApiConfig, LimitsConfig};
use sonde_protocol::ids::{MeasurementId, ProbeId, SessionId};
use sonde_store::catalog::Accounts;
use sonde_store::results::StoredReport;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::lab::{Lab, NOW, Person, asking, path, skipped, worldwide};
use crate::subscriber::{Subscriber, results_of};

/// A server with a probe of anna's and her traceroute by it.
pub struct Scene {
    pub lab: Lab,
    pub anna: Person,
    pub probe: ProbeId,
    pub session: SessionId,
    pub id: MeasurementId,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(ApiConfig::default(), asking("traceroute", "1.1.1.1", worldwide(1)))
    }

    pub fn with(config: ApiConfig, body: Value) -> Self {
        let lab = Lab::with(config);
        let anna = lab.person("anna");
        let probe = lab.new_probe(&anna);
        let session = lab.connect(probe, "20.0.0.9", &[]);
        let id = lab.measure(&anna, &body);
        Self { lab, anna, probe, session, id }
    }

    /// A traceroute at this time.
    pub fn report(&self, at: i64) -> StoredReport {
        self.report_of(self.id, at)
    }

    pub fn report_of(&self, id: MeasurementId, at: i64) -> StoredReport {
        let report = path(id, at, "192.168.1.2", "1.1.1.1", &["192.168.1.1", "22.0.0.1"]);
        self.lab.stored(self.probe, self.session, &report)
    }

    /// Stores results, all in one commit, told to the streams.
    pub fn store(&self, times: &[i64]) {
        self.lab.store(times.iter().map(|at| self.report(*at)).collect(), Vec::new());
    }

    /// Hears the time of the next result.
    pub fn hear(&self, subscriber: &mut Subscriber) -> i64 {
        let result = self.lab.runtime.block_on(subscriber.expect("atlas_result"));
        result["timestamp"].as_i64().unwrap()
    }

    fn private() -> Self {
        let mut body = asking("traceroute", "1.1.1.1", worldwide(1));
        body["definitions"][0]["is_public"] = json!(false);
        Self::with(ApiConfig::default(), body)
    }
}

#[test]
fn a_result_comes_as_the_endpoint_has_it() {
    let scene = Scene::new();
    let mut subscriber = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(subscriber.subscribe(results_of(scene.id)));
    let skipped = scene.lab.stored(scene.probe, scene.session, &skipped(scene.id, NOW - 30, 3));
    scene.lab.store(vec![skipped, scene.report(NOW)], Vec::new());
    let text = scene.lab.runtime.block_on(subscriber.hear_text());
    let line = scene.lab.get(&format!("/api/v2/measurements/{}/results/?format=txt", scene.id)).text;
    assert_eq!(text, format!("[\"atlas_result\",{}]", line.trim_end()), "compact, the prefix that clients compare");
    assert!(text.contains("\"from\":\"20.0.0.0\""), "as the public sees it: {text}");
}

#[test]
fn several_subscriptions_come_and_go_on_one_connection() {
    let scene = Scene::new();
    let other = scene.lab.measure(&scene.anna, &asking("traceroute", "1.1.1.1", worldwide(1)));
    let mut subscriber = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(async {
        // As cousteau spells it, numbers as text, with what nobody knows.
        let odd = json!({"stream_type": "result", "msm": scene.id.to_string(), "enrichProbes": true, "x": [1]});
        subscriber.subscribe(odd).await;
        subscriber.subscribe(results_of(other)).await;
        // The same once more: still only once.
        subscriber.subscribe(results_of(other)).await;
    });
    scene.store(&[NOW]);
    scene.lab.store(vec![scene.report_of(other, NOW + 1)], Vec::new());
    assert_eq!([scene.hear(&mut subscriber), scene.hear(&mut subscriber)], [NOW, NOW + 1]);
    scene.lab.runtime.block_on(async {
        subscriber.say("atlas_unsubscribe", &results_of(scene.id)).await;
        assert_eq!(subscriber.expect("atlas_unsubscribed").await, results_of(scene.id));
    });
    scene.store(&[NOW + 2]);
    scene.lab.store(vec![scene.report_of(other, NOW + 3)], Vec::new());
    assert_eq!(scene.hear(&mut subscriber), NOW + 3);
    scene.lab.runtime.block_on(async {
        subscriber.say("atlas_unsubscribe", &json!({})).await;
        subscriber.expect("atlas_unsubscribed").await;
    });
    scene.lab.store(vec![scene.report_of(other, NOW + 4)], Vec::new());
    scene.lab.runtime.block_on(subscriber.subscribe(results_of(scene.id)));
    scene.store(&[NOW + 5]);
    assert_eq!(scene.hear(&mut subscriber), NOW + 5);
}

#[test]
fn filters_hold_together() {
    let scene = Scene::new();
    let bob = scene.lab.person("bob");
    let second = scene.lab.new_probe(&bob);
    let session = scene.lab.connect(second, "21.0.0.9", &[]);
    let id = scene.lab.measure(&scene.anna, &asking("traceroute", "1.1.1.1", worldwide(2)));
    let with = |filter: Value| {
        let mut subscriber = scene.lab.subscriber(None);
        let mut parameters = filter;
        parameters["streamType"] = json!("result");
        scene.lab.runtime.block_on(subscriber.subscribe(parameters));
        subscriber
    };
    let filters = [
        (json!({}), vec![1, 2]),
        (json!({"prb": scene.probe}), vec![1]),
        (json!({"msm": id, "prb": second}), vec![2]),
        (json!({"type": "traceroute", "prb": second}), vec![2]),
        (json!({"type": "ping"}), vec![]),
        (json!({"msm": id, "sourcePrefix": "21.0.0.0/16"}), vec![2]),
        (json!({"msm": id, "sourceAddress": "21.0.0.9"}), vec![]), // it is hidden, and so not to be guessed
        (json!({"msm": id, "destinationAddress": "1.1.1.1"}), vec![1, 2]),
        (json!({"msm": id, "destinationPrefix": "1.0.0.0/9", "passThroughPrefix": "23.0.0.0/8"}), vec![2]),
        (json!({"msm": id, "passThroughHost": "22.0.0.1"}), vec![1]),
        (json!({"msm": id, "equalsTo": {"prb_id": second}}), vec![2]),
        (json!({"msm": id, "greaterThan": {"timestamp": NOW + 1}}), vec![2]),
        (json!({"msm": id, "lessThan": {"timestamp": NOW + 2}}), vec![1]),
    ];
    let subscribers: Vec<_> =
        filters.into_iter().map(|(filter, wanted)| (with(filter.clone()), filter, wanted)).collect();
    let trace = |probe, session, number, hop: &str| {
        scene.lab.stored(probe, session, &path(id, NOW + number, "192.168.1.2", "1.1.1.1", &["192.168.1.1", hop]))
    };
    let both = vec![trace(scene.probe, scene.session, 1, "22.0.0.1"), trace(second, session, 2, "23.0.0.1")];
    scene.lab.store(both, Vec::new());
    for (mut subscriber, filter, wanted) in subscribers {
        for number in wanted {
            assert_eq!(scene.hear(&mut subscriber) - NOW, number, "{filter}");
        }
        // Nothing else has come: what is asked now is answered next.
        scene.lab.runtime.block_on(async {
            subscriber.say("atlas_unsubscribe", &json!({})).await;
            subscriber.expect("atlas_unsubscribed").await;
        });
    }
}

#[test]
fn the_form_of_results() {
    let scene = Scene::new();
    let mut parameters = results_of(scene.id);
    parameters["acceptedFields"] = json!(["prb_id", "timestamp"]);
    let mut few = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(few.subscribe(parameters));
    let mut parameters = results_of(scene.id);
    parameters["buffering"] = json!(true);
    let mut lists = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(lists.subscribe(parameters));
    scene.store(&[NOW, NOW + 1]);
    scene.lab.runtime.block_on(async {
        assert_eq!(few.expect("atlas_result").await, json!({"prb_id": scene.probe, "timestamp": NOW}));
        let list = lists.expect("atlas_result").await;
        let times: Vec<&Value> = list.as_array().unwrap().iter().map(|result| &result["timestamp"]).collect();
        assert_eq!(times, [NOW, NOW + 1]);
    });
}

#[test]
fn a_private_measurement_is_for_its_owners_key_alone() {
    let scene = Scene::private();
    let bob = scene.lab.person("bob");
    let weak = {
        let reply = scene.lab.post_as(&scene.anna, "/api/v2/keys/", &json!({"label": "weak", "grants": []}));
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["uuid"].as_str().unwrap().to_owned()
    };
    let mut owner = scene.lab.subscriber(Some(&scene.anna.key));
    let mut others =
        [scene.lab.subscriber(None), scene.lab.subscriber(Some(&bob.key)), scene.lab.subscriber(Some(&weak))];
    let mut by_backlog = scene.lab.subscriber(Some(&bob.key));
    scene.store(&[NOW - 1]);
    scene.lab.runtime.block_on(async {
        owner.subscribe(results_of(scene.id)).await;
        let filters = [json!({}), results_of(scene.id), json!({"prb": scene.probe})];
        for (subscriber, mut filter) in others.iter_mut().zip(filters) {
            filter["streamType"] = json!("result");
            subscriber.subscribe(filter).await;
        }
        let mut with_backlog = results_of(scene.id);
        with_backlog["sendBacklog"] = json!(true);
        by_backlog.subscribe(with_backlog).await;
        by_backlog.expect("atlas_backlog_sent").await;
    });
    scene.store(&[NOW]);
    let whole = scene.lab.runtime.block_on(owner.expect("atlas_result"));
    assert_eq!((&whole["timestamp"], &whole["from"]), (&json!(NOW), &json!("20.0.0.9")), "the owner of the probe, too");
    // Once it is public everybody gets it: so everybody was there, and got nothing before.
    let change = json!({"is_public": true});
    let url = format!("/api/v2/measurements/{}/", scene.id);
    assert_eq!(scene.lab.call("PATCH", &url, Some(&scene.anna.key), Some(&change)).status, 200);
    scene.store(&[NOW + 1]);
    for subscriber in others.iter_mut().chain([&mut owner, &mut by_backlog]) {
        assert_eq!(scene.hear(subscriber), NOW + 1);
    }
}

#[test]
fn a_key_that_is_taken_back_sees_no_more() {
    let scene = Scene::private();
    let key = scene.lab.key(scene.anna.id, true);
    let mut subscriber = scene.lab.subscriber(Some(&key));
    let mut owner = scene.lab.subscriber(Some(&scene.anna.key));
    scene.lab.runtime.block_on(async {
        subscriber.subscribe(results_of(scene.id)).await;
        owner.subscribe(results_of(scene.id)).await;
    });
    scene.store(&[NOW]);
    assert_eq!([scene.hear(&mut subscriber), scene.hear(&mut owner)], [NOW, NOW]);
    let digest = sonde_api::digest(key.parse().unwrap());
    let stored = scene.lab.runtime.block_on(scene.lab.catalog.key(&digest)).unwrap().unwrap();
    let disabled = sonde_store::catalog::ApiKey { enabled: false, ..stored };
    assert!(scene.lab.runtime.block_on(scene.lab.catalog.change_key(&disabled)).unwrap());
    scene.lab.set_clock(NOW + 10);
    scene.store(&[NOW + 1]);
    assert_eq!(scene.hear(&mut owner), NOW + 1);
    let change = json!({"is_public": true});
    let url = format!("/api/v2/measurements/{}/", scene.id);
    assert_eq!(scene.lab.call("PATCH", &url, Some(&scene.anna.key), Some(&change)).status, 200);
    scene.store(&[NOW + 2]);
    assert_eq!(scene.hear(&mut subscriber), NOW + 2);
    let refused = scene.lab.runtime.block_on(Subscriber::open(scene.lab.address, "/stream/", Some(&key)));
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 403));
}

#[test]
fn what_nobody_asked_a_probe_for_is_no_result() {
    let scene = Scene::new();
    let stranger = scene.lab.new_probe(&scene.anna);
    let session = scene.lab.connect(stranger, "21.0.0.9", &[]);
    let mut subscriber = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(subscriber.subscribe(results_of(scene.id)));
    let forged = path(scene.id, NOW, "192.168.1.2", "1.1.1.1", &["22.0.0.1"]);
    scene.lab.store(vec![scene.lab.stored(stranger, session, &forged)], Vec::new());
    scene.store(&[NOW + 1]);
    assert_eq!(scene.hear(&mut subscriber), NOW + 1);
    let nowhere = scene.report_of(MeasurementId(99_999_999), NOW);
    scene.lab.runtime.block_on(subscriber.subscribe(json!({"streamType": "result", "msm": 99_999_999})));
    scene.lab.store(vec![nowhere], Vec::new());
    scene.store(&[NOW + 2]);
    assert_eq!(scene.hear(&mut subscriber), NOW + 2);
    // Who joins later counts from then on.
    let body = json!([{"action": "add", "type": "probes", "value": stranger.to_string(), "requested": 1}]);
    let url = format!("/api/v2/measurements/{}/participation-requests/", scene.id);
    let reply = scene.lab.post_as(&scene.anna, &url, &body);
    if reply.status == 201 {
        scene.lab.store(vec![scene.lab.stored(stranger, session, &forged)], Vec::new());
        assert_eq!(scene.hear(&mut subscriber), NOW);
    } else {
        panic!("{reply:?}");
    }
}

#[test]
fn what_makes_no_sense_is_answered_and_changes_nothing() {
    let scene = Scene::new();
    let mut subscriber = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(async {
        subscriber.subscribe(results_of(scene.id)).await;
        for (text, kind, parameter) in [
            ("{", "message", None),
            ("[]", "message", None),
            ("[\"atlas_subscribe\"]", "message", None),
            ("[\"atlas_subscribe\",5]", "message", None),
            ("[\"atlas_subscribe\",{},{}]", "message", None),
            ("[\"atlas_explode\",{}]", "message", None),
            ("[\"atlas_subscribe\",{\"msm\":5}]", "subscribe", Some("streamType")),
            ("[\"atlas_subscribe\",{\"streamType\":\"metadata\"}]", "subscribe", Some("streamType")),
            ("[\"atlas_subscribe\",{\"streamType\":\"result\",\"msm\":\"x\"}]", "subscribe", Some("msm")),
            ("[\"atlas_subscribe\",{\"streamType\":\"result\",\"startTime\":1}]", "subscribe", Some("startTime")),
            ("[\"atlas_unsubscribe\",{\"streamType\":\"result\",\"msm\":\"x\"}]", "unsubscribe", Some("msm")),
        ] {
            subscriber.say_text(text).await;
            let error = subscriber.expect("atlas_error").await;
            assert_eq!((error["type"].as_str(), error["parameter"].as_str()), (Some(kind), parameter), "{text}");
            assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{error}");
        }
        for measurement in 0..63 {
            subscriber.subscribe(json!({"streamType": "result", "msm": measurement})).await;
        }
        subscriber.say("atlas_subscribe", &json!({"streamType": "result", "msm": 63})).await;
        assert_eq!(subscriber.expect("atlas_error").await["type"], "subscribe", "there are 64 already");
    });
    scene.store(&[NOW]);
    assert_eq!(scene.hear(&mut subscriber), NOW);
    scene.lab.runtime.block_on(async {
        let large = json!({"streamType": "result", "x": "x".repeat(20 << 10)});
        subscriber.say("atlas_subscribe", &large).await;
        assert!(subscriber.closed().await.is_none_or(|code| code != CloseCode::Away), "a message has 16 KiB at most");
    });
    // The server is well.
    let mut again = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(again.subscribe(results_of(scene.id)));
}

#[test]
fn probes_come_and_go() {
    let scene = Scene::new();
    let other = scene.lab.new_probe(&scene.anna);
    scene.lab.connect(other, "2a00:1:2:3::4", &[]);
    let mut all = scene.lab.subscriber(None);
    let mut one = scene.lab.subscriber(Some(&scene.anna.key));
    scene.lab.runtime.block_on(async {
        all.subscribe(json!({"streamType": "probestatus"})).await;
        one.subscribe(json!({"stream_type": "probestatus", "prb": scene.probe, "type": "connection"})).await;
    });
    scene.lab.tell_status(other, true);
    scene.lab.tell_status(scene.probe, false);
    let gone = json!({
        "msm_id": 7000, "prb_id": scene.probe, "timestamp": NOW, "type": "connection", "event": "disconnect",
        "controller": "ctr", "asn": null, "prefix": "20.0.0.0/24",
    });
    scene.lab.runtime.block_on(async {
        let come = all.expect("atlas_probestatus").await;
        assert_eq!((&come["event"], &come["prefix"]), (&json!("connect"), &json!("2a00:1:2::/48")));
        assert_eq!(all.expect("atlas_probestatus").await, gone);
        assert_eq!(one.expect("atlas_probestatus").await, gone);
    });
}

#[test]
fn an_address_has_so_many_streams() {
    let limits = LimitsConfig { loopback: true, streams_per_address: 2, ..LimitsConfig::default() };
    let lab = Lab::with(ApiConfig { limits, ..ApiConfig::default() });
    let open = || lab.runtime.block_on(Subscriber::open(lab.address, "/stream/", None));
    let (one, _two) = (open().unwrap(), open().unwrap());
    let Err(Error::Http(refused)) = open() else { panic!("a third") };
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    drop(one);
    // The seat is free as soon as the server has noticed.
    let again = (0..500).find_map(|_| open().ok());
    assert!(again.is_some());
}

#[test]
fn who_says_too_much_is_not_heard() {
    let limits = LimitsConfig { loopback: true, address_per_minute: 3, ..LimitsConfig::default() };
    let lab = Lab::with(ApiConfig { limits, ..ApiConfig::default() });
    let mut subscriber = lab.subscriber(None);
    lab.runtime.block_on(async {
        subscriber.subscribe(json!({"streamType": "result", "msm": 1})).await;
        subscriber.subscribe(json!({"streamType": "result", "msm": 2})).await;
        subscriber.say("atlas_subscribe", &json!({"streamType": "result", "msm": 3})).await;
        assert_eq!(subscriber.expect("atlas_error").await["type"], "rate");
    });
}

#[test]
fn the_end_of_the_server_is_said() {
    let mut scene = Scene::new();
    let mut subscriber = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(subscriber.subscribe(results_of(scene.id)));
    scene.store(&[NOW]);
    assert_eq!(scene.hear(&mut subscriber), NOW);
    scene.lab.shut_down();
    assert_eq!(scene.lab.runtime.block_on(subscriber.closed()), Some(CloseCode::Away));
}
