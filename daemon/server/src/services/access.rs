//! Pairing and tokens.

use std::sync::Arc;

use easel_domain::{Error, Reason};
use easel_proto::v1;
use easel_proto::v1::access_service_server::AccessService;
use tonic::{Request, Response};

use super::{Answer, answer};
use crate::access::{Access, CallOrigin, Caller, Polled};
use crate::convert::access as convert;
use crate::convert::time;

/// Implements `AccessService`. The guard has seen to it that only those call who may.
pub(crate) struct Accesses {
    access: Arc<Access>,
}

impl Accesses {
    /// The service of `access`.
    pub(crate) fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    async fn poll(&self, wire: v1::PollPairingRequest, origin: &str) -> Result<v1::PollPairingResponse, Error> {
        let (secret, wait) = convert::poll(wire)?;
        let told = |state: v1::PairingState| v1::PollPairingResponse { state: state.into(), ..Default::default() };
        Ok(match self.access.poll(&secret, origin, wait).await? {
            Polled::Pending => told(v1::PairingState::Pending),
            Polled::Rejected => told(v1::PairingState::Rejected),
            Polled::Confirmed(token, entry) => v1::PollPairingResponse {
                token,
                token_id: entry.id.clone(),
                scopes: convert::wire_scopes(&entry.scopes),
                ..told(v1::PairingState::Confirmed)
            },
        })
    }

    fn answer(&self, code: String, yes: bool) -> Result<v1::Pairing, Error> {
        let pending = self.access.answer(&convert::code(code)?, yes)?;
        tracing::info!(name = pending.wish.name, origin = pending.wish.origin, yes, "a pairing was answered");
        Ok(convert::wire_pairing(pending))
    }

    /// Everybody may revoke what is theirs; the owner everything.
    fn revoke(&self, id: String, caller: Option<&Caller>) -> Result<v1::Token, Error> {
        let own = match caller {
            Some(Caller::Token(known)) => Some(known.id.as_str()),
            _ => None,
        };
        let id = match (id.as_str(), own) {
            ("", Some(own)) => own,
            ("", None) => return Err(Error::field(Reason::InvalidRequest, "token_id", "is empty")),
            (id, Some(own)) if id != own => {
                let message = "only the daemon's own user revokes the tokens of others: use `easel tokens revoke`";
                return Err(Error::new(Reason::PermissionDenied, message));
            }
            (id, _) => id,
        };
        let revoked = self.access.revoke(id)?;
        tracing::info!(name = revoked.name, id, "a token was revoked");
        Ok(convert::wire_token(&revoked))
    }
}

/// The page that a call comes from.
fn origin<T>(request: &Request<T>) -> String {
    request.extensions().get::<CallOrigin>().cloned().unwrap_or_default().0
}

#[tonic::async_trait]
impl AccessService for Accesses {
    async fn begin_pairing(&self, request: Request<v1::BeginPairingRequest>) -> Answer<v1::BeginPairingResponse> {
        let origin = origin(&request);
        let begun = convert::begin(request.into_inner(), origin).and_then(|wish| self.access.begin(wish));
        answer(begun.map(convert::wire_begun))
    }

    async fn poll_pairing(&self, request: Request<v1::PollPairingRequest>) -> Answer<v1::PollPairingResponse> {
        let origin = origin(&request);
        answer(self.poll(request.into_inner(), &origin).await)
    }

    async fn list_pairings(&self, _request: Request<v1::ListPairingsRequest>) -> Answer<v1::ListPairingsResponse> {
        let pairings = self.access.pending().into_iter().map(convert::wire_pairing).collect();
        Ok(Response::new(v1::ListPairingsResponse { pairings }))
    }

    async fn confirm_pairing(&self, request: Request<v1::ConfirmPairingRequest>) -> Answer<v1::ConfirmPairingResponse> {
        let pairing = self.answer(request.into_inner().code, true);
        answer(pairing.map(|pairing| v1::ConfirmPairingResponse { pairing: Some(pairing) }))
    }

    async fn reject_pairing(&self, request: Request<v1::RejectPairingRequest>) -> Answer<v1::RejectPairingResponse> {
        let pairing = self.answer(request.into_inner().code, false);
        answer(pairing.map(|pairing| v1::RejectPairingResponse { pairing: Some(pairing) }))
    }

    async fn list_tokens(&self, _request: Request<v1::ListTokensRequest>) -> Answer<v1::ListTokensResponse> {
        let tokens = self.access.tokens().iter().map(convert::wire_token).collect();
        Ok(Response::new(v1::ListTokensResponse { tokens }))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<v1::RevokeTokenResponse> {
        let caller = request.extensions().get::<Caller>().cloned();
        let token = self.revoke(request.into_inner().token_id, caller.as_ref());
        answer(token.map(|token| v1::RevokeTokenResponse { token: Some(token) }))
    }

    async fn create_browser_code(
        &self,
        _request: Request<v1::CreateBrowserCodeRequest>,
    ) -> Answer<v1::CreateBrowserCodeResponse> {
        answer(self.access.browser_code().map(|(code, expire_time)| v1::CreateBrowserCodeResponse {
            path: format!("/open#{code}"),
            expire_time: Some(time::timestamp(expire_time)),
        }))
    }
}
