//! The threads that listen: to the results of a measurement, to its state, to Ctrl-C. All of them say what happens through
//! one channel; they end with the process.

use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, ClientError};

/// How often the results are asked for where the server has no stream.
const POLL: Duration = Duration::from_secs(1);

/// How often the state is asked for.
const LOOK: Duration = Duration::from_secs(3);

/// How long to wait after a broken connection, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How far back results are asked for again, in seconds: clocks of probes differ, and delivery takes time.
const OVERLAP: i64 = 900;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A result, as it came and as it reads.
    Result(u64, String, Value),
    /// The state of a measurement.
    Status(u64, Value),
    /// Runs that will not take place.
    Skipped(u64, Value),
    /// Something that whoever waits should know.
    Note(String),
    /// The stop was asked for; whether the server did it.
    Stopped(u64, Result<(), String>),
    /// Ctrl-C, or somebody wants this program to end.
    Interrupt,
}

/// A message of the stream: its name, its payload, and the text of that.
pub fn message(line: &str) -> Option<(String, Value, String)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let [name, payload] = message.as_array()?.as_slice() else { return None };
    let name = name.as_str()?;
    // As it came, with every digit, if it stands where it always does.
    let inside = line.strip_prefix(&format!("[\"{name}\",")).and_then(|rest| rest.strip_suffix(']'));
    let text = inside.map_or_else(|| payload.to_string(), str::to_owned);
    Some((name.to_owned(), payload.clone(), text))
}

/// What to say of an `atlas_error`.
pub fn complaint(payload: &Value) -> String {
    let said = ["detail", "message", "type"].into_iter().find_map(|name| payload[name].as_str());
    let count = payload["count"].as_u64().map(|count| format!(" ({count})")).unwrap_or_default();
    format!("the stream says: {}{count}", said.or(payload.as_str()).unwrap_or("something is wrong"))
}

/// Listens to the results of a measurement.
pub fn results(client: Client, id: u64, events: Sender<Event>) {
    thread::spawn(move || {
        let mut pause = AGAIN.0;
        loop {
            let path = format!("/stream/?streamType=result&msm={id}&sendBacklog=true");
            let error = match client.lines(&path) {
                Ok(lines) => {
                    pause = AGAIN.0;
                    match stream(lines, id, &events) {
                        Some(error) => error,
                        // Nobody listens any more.
                        None => return,
                    }
                }
                // No stream there, or none for us: the results are there all the same.
                Err(ClientError::Refused(_)) => return poll(&client, id, &events),
                Err(error) => error.to_string(),
            };
            if events.send(Event::Note(format!("{error}; trying again"))).is_err() {
                return;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(AGAIN.1);
        }
    });
}

/// Passes on what a stream says until it breaks; gives why, or nothing if nobody listens.
fn stream(lines: impl Iterator<Item = Result<String, ClientError>>, id: u64, events: &Sender<Event>) -> Option<String> {
    for line in lines {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Some(error.to_string()),
        };
        let event = match message(&line) {
            Some((name, payload, text)) if name == "atlas_result" => match payload.as_array() {
                Some(several) => {
                    for one in several {
                        events.send(Event::Result(id, one.to_string(), one.clone())).ok()?;
                    }
                    continue;
                }
                None => Event::Result(id, text, payload),
            },
            Some((name, payload, _)) if name == "atlas_error" => Event::Note(complaint(&payload)),
            _ => continue,
        };
        events.send(event).ok()?;
    }
    Some("the stream has ended".into())
}

/// Asks for the results again and again.
fn poll(client: &Client, id: u64, events: &Sender<Event>) {
    let mut since = 0;
    loop {
        match fetch(client, id, since, events) {
            Ok(newest) => since = since.max(newest.saturating_sub(OVERLAP)),
            Err(error) => {
                if events.send(Event::Note(format!("{error}; trying again"))).is_err() {
                    return;
                }
                thread::sleep(AGAIN.1);
            }
        }
        thread::sleep(POLL);
    }
}

/// Fetches the results from a time on, and gives the time of the newest.
///
/// # Errors
/// When the server does not answer.
pub fn fetch(client: &Client, id: u64, since: i64, events: &Sender<Event>) -> Result<i64, ClientError> {
    let mut newest = since;
    for line in client.lines(&format!("/api/v2/measurements/{id}/results/?format=txt&start={since}"))? {
        let line = line?;
        let Ok(result) = serde_json::from_str::<Value>(&line) else { continue };
        newest = newest.max(result["timestamp"].as_i64().unwrap_or_default());
        // An error: nobody listens, which the next one notices, too.
        let _ = events.send(Event::Result(id, line, result));
    }
    Ok(newest)
}

/// What the server says of a measurement.
///
/// # Errors
/// When it does not answer.
pub fn status(client: &Client, id: u64) -> Result<Value, ClientError> {
    client.get(&format!("/api/v2/measurements/{id}/?fields=status,probes"))
}

/// Looks at the state of a measurement now and then.
pub fn state(client: Client, id: u64, is_oneoff: bool, events: Sender<Event>) {
    thread::spawn(move || {
        loop {
            thread::sleep(LOOK);
            // That the server is away is said by whoever listens to the results.
            if let Ok(status) = status(&client, id)
                && events.send(Event::Status(id, status)).is_err()
            {
                return;
            }
            if is_oneoff
                && let Ok(skipped) = client.get(&format!("/api/v2/measurements/{id}/skipped/"))
                && events.send(Event::Skipped(id, skipped)).is_err()
            {
                return;
            }
        }
    });
}

/// Stops measurements, without holding anybody up.
pub fn stop(client: &Client, ids: &[u64], events: &Sender<Event>) {
    for &id in ids {
        let (client, events) = (client.clone(), events.clone());
        thread::spawn(move || {
            let outcome = client.delete(&format!("/api/v2/measurements/{id}/")).map_err(|error| error.to_string());
            let _ = events.send(Event::Stopped(id, outcome));
        });
    }
}

/// Listens to Ctrl-C, to a wish that this program ends, and to its terminal's end.
pub fn interrupts(events: Sender<Event>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    // Before anything is made that would have to be stopped.
    let [mut int, mut term, mut hup] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
                if events.send(Event::Interrupt).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_message_keeps_every_digit() {
        let (name, payload, text) = message("[\"atlas_result\",{\"rtt\":1.500000,\"a\":[1]}]").unwrap();
        assert_eq!((name.as_str(), text.as_str()), ("atlas_result", "{\"rtt\":1.500000,\"a\":[1]}"));
        assert_eq!(payload["rtt"], 1.5);
        assert_eq!(message("[ \"atlas_result\", 5 ]").unwrap().2, "5");
        for nonsense in ["", "{}", "[1,2]", "[\"a\"]", "[\"a\",1,2]", "[\"atlas_result\",{"] {
            assert!(message(nonsense).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn what_a_stream_says() {
        let (events, heard) = mpsc::channel();
        let lines = [
            "[\"atlas_subscribed\",{}]",
            "[\"atlas_result\",{\"prb_id\":1}]",
            "nonsense",
            "[\"atlas_result\",[{\"prb_id\":2},{\"prb_id\":3}]]",
            "[\"atlas_error\",{\"type\":\"missed\",\"count\":7}]",
        ];
        let why = stream(lines.into_iter().map(|line| Ok(line.to_owned())), 100, &events);
        assert_eq!(why.as_deref(), Some("the stream has ended"));
        drop(events);
        let heard: Vec<String> = heard
            .iter()
            .map(|event| match event {
                Event::Result(100, text, _) => text,
                Event::Note(note) => note,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(heard, ["{\"prb_id\":1}", "{\"prb_id\":2}", "{\"prb_id\":3}", "the stream says: missed (7)"]);
    }
}
