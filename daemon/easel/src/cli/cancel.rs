//! `easel cancel ID`.

use easel_sdk::proto::CancelOutcome;
use serde_json::json;

use super::Context;
use super::session::Session;
use crate::exit::Failure;
use crate::output::words;

/// Cancels a generation of the running daemon and says what that hit.
pub(crate) async fn cancel(context: &Context, id: &str) -> Result<(), Failure> {
    let session = Session::open_running(context, "there is nothing to cancel").await?;
    let answer = session.client.cancel(id).await?;
    let outcome = answer.outcome();
    if context.output.is_json() {
        let at = answer.at.as_ref().map(words::progress);
        context
            .output
            .json(&json!({"id": id, "outcome": words::lower(outcome.as_str_name(), "CANCEL_OUTCOME_"), "at": at}));
        return Ok(());
    }
    let sentence = match outcome {
        CancelOutcome::WasQueued => "was waiting and has been taken out of the queue",
        CancelOutcome::WasRunning => "was running and stops",
        CancelOutcome::WasFinished => "had ended already; nothing changed",
        CancelOutcome::Unspecified => "was cancelled",
    };
    context.output.line(&format!("{id} {sentence}"));
    Ok(())
}
