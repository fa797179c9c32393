//! Makes the measurement, shows its results as they come, stops it on Ctrl-C.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::ask::Ask;
use super::board::Board;
use super::clean;
use super::client::{Client, ClientError};
use super::definition::Request;
use super::follow::{self, Event};
use super::from::{self, Source};
use super::screen::{Form, Screen};
use super::table::{self, Table};

/// How much longer than a run can take results are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long results that were under way are waited for after a stop.
const GRACE: Duration = Duration::from_secs(1);

/// How often there is something to do when nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// `sonde KIND TARGET`.
///
/// # Errors
/// When it cannot be measured at all.
pub fn run(ask: &Ask, client: &Client) -> Result<ExitCode> {
    let mut screen = Screen::new(ask.common.json);
    let request = Request::read(ask)?;
    let sources = sources(ask, client)?;
    let (sender, receiver) = mpsc::channel();
    // From now on a Ctrl-C is an event, so that nothing that is made is forgotten.
    follow::interrupts(sender.clone()).context("cannot listen to signals")?;
    let (request, ids) = create(ask, client, &sources, request, &mut screen)?;
    let measurements: Vec<(u64, u8)> = ids.iter().copied().zip(request.families.iter().copied()).collect();
    let is_oneoff = ask.common.interval.is_none();
    let until = match (ask.common.wait, is_oneoff) {
        (Some(wait), _) => Some(wait),
        (None, true) => Some(request.longest_run() + PATIENCE),
        (None, false) => None,
    };
    let mut watch = Watch {
        client,
        ids,
        board: Board::new(ask.kind, is_oneoff, &measurements),
        table: Table::of_kind(Some(ask.kind), !is_oneoff),
        is_dated: !is_oneoff,
        screen,
        sender,
        until: until.and_then(|wait| Instant::now().checked_add(wait)),
        interrupts: 0,
        stopping: 0,
        has_head: false,
    };
    let what: Vec<String> = measurements.iter().map(|(id, af)| format!("{id} (IPv{af})")).collect();
    watch.screen.note(&format!("measurement {}: {} {}", what.join(", "), ask.kind, ask.common.target));
    let outcome = watch.run(&receiver);
    // Time is up, or whoever reads our output is gone: nobody else would ever stop it.
    if !is_oneoff && watch.interrupts == 0 && !watch.board.is_over() {
        for id in &watch.ids {
            let _ = client.delete(&format!("/api/v2/measurements/{id}/"));
        }
    }
    match outcome {
        Ok(()) | Err(Trouble::NobodyReads) => {}
        Err(Trouble::Other(error)) => return Err(error),
    }
    Ok(if watch.board.summary.results() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sources, with the number of probes of measurements that are named without one.
fn sources(ask: &Ask, client: &Client) -> Result<Vec<Source>> {
    let mut sources = from::parse(&ask.common.from)?;
    for source in sources.iter_mut().filter(|source| source.requested.is_none()) {
        let path = format!("/api/v2/measurements/{}/?fields=participant_count", source.value);
        let count = match client.get(&path) {
            Ok(measurement) => measurement["participant_count"].as_u64(),
            Err(error) if error.is_not_found() => bail!("--from msm:{}: there is no such measurement", source.value),
            Err(error) => return Err(error.into()),
        };
        // One at least: the server then says that none fits.
        source.requested = Some(count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1).max(1));
    }
    Ok(sources)
}

/// Makes the measurements; without the family that the target does not have.
fn create(
    ask: &Ask,
    client: &Client,
    sources: &[Source],
    mut request: Request,
    screen: &mut Screen,
) -> Result<(Request, Vec<u64>)> {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match client.post("/api/v2/measurements/", &request.body(ask, sources, now)) {
            Ok(answer) => {
                let ids: Vec<u64> =
                    answer["measurements"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
                if ids.len() != request.families.len() {
                    bail!("the server made {} measurements of {}", ids.len(), request.families.len());
                }
                return Ok((request, ids));
            }
            Err(ClientError::Refused(refusal)) => match request.without_missing_family(&refusal) {
                Some((rest, note)) => {
                    screen.note(&note);
                    request = rest;
                }
                None => return Err(ClientError::Refused(refusal).into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

enum Trouble {
    /// Standard output is closed.
    NobodyReads,
    Other(anyhow::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Other(error.into()),
        }
    }
}

struct Watch<'a> {
    client: &'a Client,
    ids: Vec<u64>,
    board: Board,
    /// For lines as they come.
    table: Table,
    is_dated: bool,
    screen: Screen,
    sender: Sender<Event>,
    /// Until when results are waited for.
    until: Option<Instant>,
    interrupts: u32,
    /// How many measurements have yet to be stopped.
    stopping: usize,
    has_head: bool,
}

impl Watch<'_> {
    fn run(&mut self, events: &Receiver<Event>) -> Result<(), Trouble> {
        for id in self.ids.clone() {
            follow::results(self.client.clone(), id, self.sender.clone());
            follow::state(self.client.clone(), id, !self.is_dated, self.sender.clone());
            match follow::status(self.client, id) {
                Ok(status) => self.board.take_status(id, &status),
                Err(error) => self.screen.note(&error.to_string()),
            }
        }
        self.meet();
        loop {
            match events.recv_timeout(TICK) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                // It cannot be: this holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // Those that wait go first, or a table would be drawn for each.
            while let Ok(event) = events.try_recv() {
                self.take(event)?;
            }
            let is_late = self.until.is_some_and(|until| Instant::now() >= until);
            if self.board.is_complete() || self.interrupts > 1 || is_late {
                break;
            }
            if self.board.is_over() && self.stopping == 0 && self.interrupts == 0 {
                break;
            }
            if self.screen.is_due() {
                self.draw()?;
            }
        }
        self.end(events)
    }

    fn take(&mut self, event: Event) -> Result<(), Trouble> {
        match event {
            Event::Result(id, text, result) => self.take_result(id, &text, &result)?,
            Event::Status(id, status) => {
                self.board.take_status(id, &status);
                self.meet();
            }
            Event::Skipped(id, skipped) => {
                for run in skipped["results"].as_array().into_iter().flatten() {
                    if let Some(probe) = run["prb_id"].as_u64() {
                        let reason = clean::text(run["reason"].as_str().unwrap_or("it does not say why"), 40);
                        self.board.take_skipped(id, probe, &reason);
                    }
                }
            }
            Event::Note(note) => self.screen.note(&note),
            Event::Stopped(id, outcome) => {
                self.stopping = self.stopping.saturating_sub(1);
                match outcome {
                    Ok(()) => self.screen.note(&format!("measurement {id} is stopped")),
                    Err(error) => self.screen.note(&format!("measurement {id} could not be stopped: {error}")),
                }
                if self.stopping == 0 {
                    self.until = Instant::now().checked_add(GRACE);
                }
            }
            Event::Interrupt => {
                self.interrupts += 1;
                if self.interrupts == 1 {
                    self.screen.note("stopping; once more to leave at once");
                    self.stopping = self.ids.len();
                    follow::stop(self.client, &self.ids, &self.sender);
                }
            }
        }
        Ok(())
    }

    fn take_result(&mut self, id: u64, text: &str, result: &Value) -> Result<(), Trouble> {
        let Some(row) = self.board.take_result(id, result) else { return Ok(()) };
        match self.screen.form() {
            Form::Json => self.screen.line(&clean::json(text))?,
            Form::Plain => {
                let widths = self.table.usual_widths();
                if !std::mem::replace(&mut self.has_head, true) {
                    self.screen.line(&self.table.head(&widths))?;
                }
                let cells = table::cells(&row, self.is_dated, &self.board.people);
                self.screen.line(&self.table.line(&cells, &widths))?;
            }
            Form::Live => {}
        }
        Ok(())
    }

    /// Asks who the probes are; it can go on without.
    fn meet(&mut self) {
        let probes = self.board.probes();
        if let Err(error) = self.board.people.meet(self.client, probes) {
            self.screen.note(&error.to_string());
        }
    }

    fn draw(&mut self) -> Result<(), Trouble> {
        let (head, lines) = self.board.table();
        let results = self.board.summary.results();
        let results = if results == 1 { "1 result".into() } else { format!("{results} results") };
        let foot = match self.board.waiting() {
            0 => format!("{results} · Ctrl-C stops"),
            waiting => format!("{results}, {waiting} to come · Ctrl-C stops"),
        };
        Ok(self.screen.draw(&head, &lines, &foot)?)
    }

    /// What may have been missed, the whole table, and what it comes to.
    fn end(&mut self, events: &Receiver<Event>) -> Result<(), Trouble> {
        if self.interrupts < 2 && !self.board.is_complete() {
            for id in self.ids.clone() {
                // A stream may have been silent without a word.
                let since = if self.is_dated { recent() } else { 0 };
                if let Err(error) = follow::fetch(self.client, id, since, &self.sender) {
                    self.screen.note(&error.to_string());
                }
            }
            while let Ok(event) = events.try_recv() {
                self.take(event)?;
            }
        }
        self.screen.clear()?;
        if self.screen.form() == Form::Live {
            let (head, lines) = self.board.table();
            self.screen.line(&head)?;
            for line in &lines {
                self.screen.line(line)?;
            }
        }
        for end in self.board.ends() {
            self.screen.note(&end);
        }
        let asked = Some(self.board.probes().len());
        for line in self.board.summary.lines(asked) {
            match self.screen.form() {
                Form::Json => self.screen.note(&line),
                Form::Live | Form::Plain => self.screen.line(&line)?,
            }
        }
        Ok(())
    }
}

/// The time of results that may be on their way still.
fn recent() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(600)
}
