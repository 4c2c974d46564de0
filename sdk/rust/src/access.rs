//! Pairing and tokens: what a program does that cannot read the token file, and what the user's command line does for it.

use std::time::Duration;

use easel_proto::v1::{self, access_service_client::AccessServiceClient};

use crate::client::required;
use crate::connect::Transport;
use crate::{Easel, Error};

/// One poll waits this long; a proxy between would cut longer ones.
const POLL_WAIT: Duration = Duration::from_secs(20);

/// A pairing that was begun: show [`code`](Self::code) to the user, then [`wait`](Self::wait).
pub struct Pairing {
    client: Easel,
    begun: v1::BeginPairingResponse,
}

/// What a pairing gives.
#[derive(Clone, PartialEq, Eq)]
pub struct PairedToken {
    /// The secret, for [`Target::tcp`](crate::Target::tcp). To be stored where only this program can read.
    pub token: String,
    /// Its name in `easel tokens`.
    pub token_id: String,
    /// What it is good for.
    pub scopes: Vec<v1::Scope>,
}

impl std::fmt::Debug for PairedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairedToken").field("token_id", &self.token_id).finish_non_exhaustive()
    }
}

impl Pairing {
    /// What to show to the user.
    pub fn code(&self) -> &str {
        &self.begun.code
    }

    /// What the user types into a terminal.
    pub fn command(&self) -> &str {
        &self.begun.command
    }

    /// Waits for the user's answer: the token, or `None` when the user said no. Fails with `PAIRING_NOT_FOUND` when the user does
    /// not answer in time.
    pub async fn wait(self) -> Result<Option<PairedToken>, Error> {
        loop {
            let wait = Some(prost_types::Duration { seconds: POLL_WAIT.as_secs() as i64, nanos: 0 });
            let request = v1::PollPairingRequest { pairing_id: self.begun.pairing_id.clone(), wait };
            let told = self.client.access().poll_pairing(request).await?.into_inner();
            match told.state() {
                v1::PairingState::Confirmed => {
                    let scopes = told.scopes().collect();
                    return Ok(Some(PairedToken { token: told.token, token_id: told.token_id, scopes }));
                }
                v1::PairingState::Rejected => return Ok(None),
                v1::PairingState::Pending => {}
                v1::PairingState::Unspecified => {
                    return Err(Error::protocol("an answer came without the state of the pairing"));
                }
            }
        }
    }
}

impl Easel {
    /// Begins a pairing; needs no token. `name` is what the user reads; without scopes all that can be paired are asked for.
    pub async fn begin_pairing(&self, name: impl Into<String>, scopes: &[v1::Scope]) -> Result<Pairing, Error> {
        let scopes = scopes.iter().map(|scope| (*scope).into()).collect();
        let request = v1::BeginPairingRequest { client_name: name.into(), scopes };
        let begun = self.access().begin_pairing(request).await?.into_inner();
        Ok(Pairing { client: self.clone(), begun })
    }

    /// Pairings that wait for the user's answer; for the user alone.
    pub async fn pairings(&self) -> Result<Vec<v1::Pairing>, Error> {
        Ok(self.access().list_pairings(v1::ListPairingsRequest {}).await?.into_inner().pairings)
    }

    /// The user's answer to the code of a pairing; for the user alone.
    pub async fn answer_pairing(&self, code: impl Into<String>, yes: bool) -> Result<v1::Pairing, Error> {
        let (mut access, code) = (self.access(), code.into());
        let pairing = match yes {
            true => access.confirm_pairing(v1::ConfirmPairingRequest { code }).await?.into_inner().pairing,
            false => access.reject_pairing(v1::RejectPairingRequest { code }).await?.into_inner().pairing,
        };
        required(pairing, "pairing")
    }

    /// The tokens that were given, without their secrets; for the user alone.
    pub async fn tokens(&self) -> Result<Vec<v1::Token>, Error> {
        Ok(self.access().list_tokens(v1::ListTokensRequest {}).await?.into_inner().tokens)
    }

    /// Makes a token worthless. An empty id is the token of this client.
    pub async fn revoke_token(&self, id: impl Into<String>) -> Result<v1::Token, Error> {
        let request = v1::RevokeTokenRequest { token_id: id.into() };
        required(self.access().revoke_token(request).await?.into_inner().token, "token")
    }

    /// Path and fragment, below an address of the daemon, with which one browser signs in to the Studio; for the user alone.
    pub async fn browser_path(&self) -> Result<String, Error> {
        Ok(self.access().create_browser_code(v1::CreateBrowserCodeRequest {}).await?.into_inner().path)
    }

    fn access(&self) -> AccessServiceClient<Transport> {
        AccessServiceClient::new(self.transport())
    }
}
