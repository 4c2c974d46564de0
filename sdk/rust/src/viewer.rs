//! Views of a session that take themselves up again after a lost connection, also to another run of the daemon.

use std::collections::{BTreeMap, VecDeque};

use easel_proto::v1::{
    self, edit_session_answer::Outcome, edit_session_request::Request as Asked,
    edit_session_response::Response as Told, session_event::Event as Happened,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::event::is_last;
use crate::patience::{Patience, lost};
use crate::request::name_request;
use crate::{Easel, Error};

/// Requests of an [`Editor`] that may wait for the connection.
const WAITING_REQUESTS: usize = 32;

/// How far a viewer has seen the generations that have not ended.
#[derive(Default)]
struct Seen {
    generations: BTreeMap<String, u64>,
    deleted: bool,
}

impl Seen {
    /// Notes an event; false when it was given before.
    fn takes(&mut self, event: &v1::SessionEvent) -> bool {
        match &event.event {
            Some(Happened::Generation(event)) if event.sequence > 0 => {
                let sequence = self.generations.entry(event.generation_id.clone()).or_default();
                let new = event.sequence > *sequence;
                *sequence = event.sequence.max(*sequence);
                if is_last(event) {
                    self.generations.remove(&event.generation_id);
                }
                new
            }
            Some(Happened::Deleted(_)) => {
                self.deleted = true;
                true
            }
            Some(_) => true,
            None => false,
        }
    }

    fn wire(&self) -> Vec<v1::SeenGeneration> {
        let seen =
            |(id, sequence): (&String, &u64)| v1::SeenGeneration { generation_id: id.clone(), sequence: *sequence };
        self.generations.iter().map(seen).collect()
    }
}

/// A call that gives what happens to a session.
trait Call: Sized {
    /// What it gives.
    type Told;

    async fn open(client: &Easel, id: &str, seen: Vec<v1::SeenGeneration>) -> Result<Self, Error>;

    /// What is told next; `None` at the end.
    async fn next(&mut self) -> Result<Option<Self::Told>, tonic::Status>;
}

/// A call that is made again when the connection breaks.
struct Line<C> {
    client: Easel,
    id: String,
    call: Option<C>,
    seen: Seen,
    patience: Patience,
}

impl<C: Call> Line<C> {
    async fn open(client: Easel, id: String) -> Result<Self, Error> {
        let call = Some(C::open(&client, &id, Vec::new()).await?);
        Ok(Self { client, id, call, seen: Seen::default(), patience: Patience::default() })
    }

    /// One attempt: something told, or nothing when there is something to try again.
    async fn step(&mut self) -> Result<Option<C::Told>, Error> {
        let Some(call) = &mut self.call else {
            self.patience.pause().await;
            match C::open(&self.client, &self.id, self.seen.wire()).await {
                Ok(call) => self.call = Some(call),
                Err(error) => self.patience.lose(error, true)?,
            }
            return Ok(None);
        };
        let error = match call.next().await {
            Ok(Some(told)) => {
                self.patience.found();
                return Ok(Some(told));
            }
            Ok(None) => lost("the daemon ended the stream early"),
            Err(status) => status.into(),
        };
        self.call = None;
        self.patience.lose(error, true)?;
        Ok(None)
    }
}

/// What happens to a session; see [`Easel::watch_session`].
///
/// When the connection breaks, the stream connects again: the session comes as it stands then, and the events of each generation
/// go on after the last one that was given.
pub struct SessionStream(Line<Streaming<v1::WatchSessionResponse>>);

impl Call for Streaming<v1::WatchSessionResponse> {
    type Told = v1::WatchSessionResponse;

    async fn open(client: &Easel, id: &str, seen: Vec<v1::SeenGeneration>) -> Result<Self, Error> {
        client.watch_session_call(id.to_owned(), seen).await
    }

    async fn next(&mut self) -> Result<Option<Self::Told>, tonic::Status> {
        self.message().await
    }
}

impl SessionStream {
    pub(crate) async fn open(client: Easel, id: String) -> Result<Self, Error> {
        Line::open(client, id).await.map(Self)
    }

    /// The next event; `None` after the session was deleted. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Result<v1::SessionEvent, Error>> {
        while !self.0.seen.deleted {
            match self.0.step().await {
                Ok(told) => {
                    let event = told.and_then(|told| told.event).filter(|event| self.0.seen.takes(event));
                    if let Some(event) = event {
                        return Some(Ok(event));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

/// Views and edits a session; see [`Easel::open_session`]. Dropping it cancels nothing but live edits whose lease ends.
///
/// When the connection breaks, it connects again, and events go on as those of a [`SessionStream`]. A request that was
/// under way is asked again where that cannot do a thing twice; an undo or redo is not, and fails with `CONNECTION_LOST`: the
/// session, which comes next, says whether it was done.
pub struct Editor {
    line: Line<Dialogue>,
    next_tag: u64,
    /// Events that came before an answer.
    events: VecDeque<v1::SessionEvent>,
}

/// An EditSession call: both of its sides.
struct Dialogue {
    requests: mpsc::Sender<v1::EditSessionRequest>,
    told: Streaming<v1::EditSessionResponse>,
}

impl Call for Dialogue {
    type Told = v1::EditSessionResponse;

    async fn open(client: &Easel, id: &str, seen: Vec<v1::SeenGeneration>) -> Result<Self, Error> {
        let (requests, waiting) = mpsc::channel(WAITING_REQUESTS);
        let attach = Asked::Attach(v1::AttachSession { session_id: id.to_owned(), seen });
        // There is room: nothing has been asked for yet.
        let _ = requests.send(v1::EditSessionRequest { tag: String::new(), request: Some(attach) }).await;
        Ok(Self { requests, told: client.edit_session_call(ReceiverStream::new(waiting)).await? })
    }

    async fn next(&mut self) -> Result<Option<Self::Told>, tonic::Status> {
        self.told.message().await
    }
}

impl Editor {
    pub(crate) async fn open(client: Easel, id: String) -> Result<Self, Error> {
        Ok(Self { line: Line::open(client, id).await?, next_tag: 0, events: VecDeque::new() })
    }

    /// Asks for an edit; the generation as accepted. Its events come with [`next`](Self::next).
    pub async fn edit(&mut self, mut edit: v1::SessionEdit) -> Result<v1::Generation, Error> {
        // Asked again under the same id it is not made twice.
        name_request(edit.policy.get_or_insert_default());
        match self.ask(Asked::Edit(edit)).await? {
            Some(Outcome::Generation(generation)) => Ok(generation),
            _ => Err(Error::protocol("an edit was answered with something else than a generation")),
        }
    }

    /// Changes the draft of the next edit, which every viewer sees.
    pub async fn draft(&mut self, draft: v1::Draft) -> Result<(), Error> {
        self.ask(Asked::Draft(draft)).await.map(drop)
    }

    /// Cancels a generation of the session, or all of them, and says what that hit.
    pub async fn cancel(&mut self, generation: Option<String>) -> Result<Vec<v1::CancelledEdit>, Error> {
        let generation_id = generation.unwrap_or_default();
        match self.ask(Asked::Cancel(v1::CancelSessionEdit { generation_id })).await? {
            Some(Outcome::Cancelled(cancelled)) => Ok(cancelled.edits),
            _ => Err(Error::protocol("a cancellation was answered with something else")),
        }
    }

    /// Goes back to the revision that the present one was made from.
    pub async fn undo(&mut self) -> Result<(), Error> {
        self.ask(Asked::Undo(v1::UndoSession {})).await.map(drop)
    }

    /// Takes an undo back.
    pub async fn redo(&mut self) -> Result<(), Error> {
        self.ask(Asked::Redo(v1::RedoSession {})).await.map(drop)
    }

    /// Goes to a revision.
    pub async fn go_to(&mut self, revision: impl Into<String>) -> Result<(), Error> {
        self.ask(Asked::GoTo(v1::GoToSessionRevision { revision_id: revision.into() })).await.map(drop)
    }

    /// The next event; `None` after the session was deleted. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Result<v1::SessionEvent, Error>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if self.line.seen.deleted {
                return None;
            }
            match self.step().await {
                Ok(Some(Told::Event(event))) => return Some(Ok(event)),
                // An answer that nobody waits for any more.
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Asks and waits for the answer; events that come before it are kept.
    async fn ask(&mut self, asked: Asked) -> Result<Option<Outcome>, Error> {
        let twice = !matches!(asked, Asked::Undo(_) | Asked::Redo(_));
        self.next_tag += 1;
        let tag = self.next_tag.to_string();
        let request = v1::EditSessionRequest { tag: tag.clone(), request: Some(asked) };
        let mut sent = false;
        while !self.line.seen.deleted {
            if self.line.call.is_none() && sent {
                if !twice {
                    return Err(lost("before the answer came: the session says whether it was done"));
                }
                sent = false;
            }
            if let (Some(call), false) = (&self.line.call, sent) {
                // When it cannot be sent, the next step finds the stream at its end.
                sent = call.requests.send(request.clone()).await.is_ok();
            }
            match self.step().await? {
                Some(Told::Event(event)) => self.events.push_back(event),
                Some(Told::Answer(answer)) if answer.tag == tag => {
                    return match answer.outcome {
                        Some(Outcome::Error(error)) => Err(Error::from(error)),
                        outcome => Ok(outcome),
                    };
                }
                _ => {}
            }
        }
        Err(Error::protocol("the session was deleted before an answer came"))
    }

    /// An answer or an event that is new, or nothing when there is something to try again.
    async fn step(&mut self) -> Result<Option<Told>, Error> {
        let told = self.line.step().await?.and_then(|told| told.response);
        Ok(told.filter(|told| match told {
            Told::Event(event) => self.line.seen.takes(event),
            Told::Answer(_) => true,
        }))
    }
}
