//! The events of one generation as a stream that takes itself up again after a lost connection.

use easel_proto::v1;
use tonic::Streaming;

use crate::patience::{Patience, lost};
use crate::{Easel, Error, Event, Succeeded};

/// The events of a generation, in order and without gaps, until the last one.
///
/// When the connection breaks, or the daemon cuts a reader that fell behind, the stream connects again and goes on after
/// the last event that it has given. What the daemon does meanwhile is up to the request: by default it cancels a
/// generation whose last watcher has gone, and the stream then ends with that; after
/// [`keep_when_disconnected`](crate::GenerationBuilder::keep_when_disconnected) it goes on.
///
/// Dropping the stream is a disconnect as well.
pub struct GenerationStream {
    client: Easel,
    /// What to send again when the connection broke before the first event; the request id makes that safe.
    request: Option<Box<(v1::GenerationSpec, v1::RunPolicy)>>,
    wire: Option<Wire>,
    id: Option<String>,
    sequence: u64,
    patience: Patience,
    done: bool,
}

/// The two calls that give events.
enum Wire {
    Run(Streaming<v1::RunGenerationResponse>),
    Watch(Streaming<v1::WatchGenerationResponse>),
}

impl Wire {
    async fn next(&mut self) -> Result<Option<v1::GenerationEvent>, tonic::Status> {
        match self {
            Self::Run(stream) => Ok(stream.message().await?.and_then(|answer| answer.event)),
            Self::Watch(stream) => Ok(stream.message().await?.and_then(|answer| answer.event)),
        }
    }
}

impl GenerationStream {
    pub(crate) async fn run(client: Easel, spec: v1::GenerationSpec, policy: v1::RunPolicy) -> Result<Self, Error> {
        let wire = Wire::Run(client.run_call(spec.clone(), policy.clone()).await?);
        let request = Some(Box::new((spec, policy)));
        Ok(Self {
            client,
            request,
            wire: Some(wire),
            id: None,
            sequence: 0,
            patience: Patience::default(),
            done: false,
        })
    }

    pub(crate) async fn watch(client: Easel, id: String, after_sequence: u64) -> Result<Self, Error> {
        let wire = Wire::Watch(client.watch_call(id.clone(), after_sequence).await?);
        Ok(Self {
            client,
            request: None,
            wire: Some(wire),
            id: Some(id),
            sequence: after_sequence,
            patience: Patience::default(),
            done: false,
        })
    }

    /// Id of the generation; known from the first event on.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Number of the last state event that was given; 0 before the first. [`Easel::watch`] goes on from it.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next event; `None` after the last one or after an error. Cancel safe between events.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        while !self.done {
            match self.step().await {
                Ok(Some(event)) => {
                    self.done = event.is_last();
                    return Some(Ok(event));
                }
                Ok(None) => {}
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Reads to the end; fails with the generation's error when it did not succeed.
    pub async fn finish(mut self) -> Result<Succeeded, Error> {
        while let Some(event) = self.next().await {
            if let Some(outcome) = event?.outcome() {
                return outcome;
            }
        }
        Err(Error::protocol("the events ended without a last one"))
    }

    /// One attempt: an event, or nothing when there is something to try again.
    async fn step(&mut self) -> Result<Option<Event>, Error> {
        let Some(wire) = &mut self.wire else {
            self.reconnect().await?;
            return Ok(None);
        };
        let event = match wire.next().await {
            Ok(Some(event)) => event,
            // The last event has not come: whoever ended the stream was not the generation.
            Ok(None) => return self.lose(lost("the daemon ended the stream early")).map(|()| None),
            Err(status) => return self.lose(status.into()).map(|()| None),
        };
        self.patience.found();
        let Some(event) = Event::from_wire(event)? else { return Ok(None) };
        self.id.get_or_insert_with(|| event.generation_id.clone());
        if event.sequence == 0 {
            return Ok(Some(event));
        }
        if event.sequence <= self.sequence {
            return Ok(None);
        }
        self.sequence = event.sequence;
        Ok(Some(event))
    }

    fn lose(&mut self, error: Error) -> Result<(), Error> {
        self.wire = None;
        self.patience.lose(error, self.id.is_some())
    }

    async fn reconnect(&mut self) -> Result<(), Error> {
        self.patience.pause().await;
        let again = match (&self.id, &self.request) {
            (Some(id), _) => self.client.watch_call(id.clone(), self.sequence).await.map(Wire::Watch),
            (None, Some(request)) => self.client.run_call(request.0.clone(), request.1.clone()).await.map(Wire::Run),
            (None, None) => Err(Error::protocol("a stream has neither an id nor a request")),
        };
        match again {
            Ok(wire) => self.wire = Some(wire),
            Err(error) => self.lose(error)?,
        }
        Ok(())
    }
}
