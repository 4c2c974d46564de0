//! Pairing as a plugin and its user do it: over TCP without a token, and over the Unix socket.

use easel_proto::v1;
use easel_proto::v1::access_service_client::AccessServiceClient;
use easel_proto::v1::system_service_client::SystemServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::{Daemon, TOKEN, quick, told};

fn plugin(daemon: &Daemon) -> AccessServiceClient<Channel> {
    AccessServiceClient::new(daemon.tcp_channel())
}

fn user(daemon: &Daemon) -> AccessServiceClient<Channel> {
    AccessServiceClient::new(daemon.unix_channel())
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

async fn begin(client: &mut AccessServiceClient<Channel>, scopes: &[v1::Scope]) -> v1::BeginPairingResponse {
    let scopes = scopes.iter().map(|scope| (*scope).into()).collect();
    let request = v1::BeginPairingRequest { client_name: "Krita".into(), scopes };
    client.begin_pairing(request).await.unwrap().into_inner()
}

/// Polls until the user has answered.
async fn answer(client: &mut AccessServiceClient<Channel>, pairing_id: &str) -> v1::PollPairingResponse {
    let wait = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = v1::PollPairingRequest { pairing_id: pairing_id.into(), wait };
    client.poll_pairing(request).await.unwrap().into_inner()
}

async fn paired(daemon: &Daemon, scopes: &[v1::Scope]) -> v1::PollPairingResponse {
    let (mut plugin, mut user) = (plugin(daemon), user(daemon));
    let begun = begin(&mut plugin, scopes).await;
    user.confirm_pairing(v1::ConfirmPairingRequest { code: begun.code }).await.unwrap();
    answer(&mut plugin, &begun.pairing_id).await
}

async fn status(daemon: &Daemon, token: &str) -> Result<v1::GetStatusResponse, Status> {
    let mut system = SystemServiceClient::new(daemon.tcp_channel());
    system.get_status(with(token, v1::GetStatusRequest {})).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_plugin_shows_a_code_the_user_confirms_it_and_the_plugin_may_call() {
    let daemon = Daemon::start(quick()).await;
    let (mut plugin, mut user) = (plugin(&daemon), user(&daemon));
    let begun = begin(&mut plugin, &[]).await;
    assert_eq!(begun.command, format!("easel pair {}", begun.code));
    let waiting = user.list_pairings(v1::ListPairingsRequest {}).await.unwrap().into_inner().pairings;
    assert_eq!((waiting.len(), waiting[0].client_name.as_str(), &waiting[0].code), (1, "Krita", &begun.code));
    let at_once = v1::PollPairingRequest { pairing_id: begun.pairing_id.clone(), wait: None };
    let pending = plugin.poll_pairing(at_once).await.unwrap().into_inner();
    assert_eq!((pending.state(), pending.token.as_str()), (v1::PairingState::Pending, ""));

    let (told, confirmed) = tokio::join!(
        answer(&mut plugin, &begun.pairing_id),
        user.confirm_pairing(v1::ConfirmPairingRequest { code: begun.code.clone() })
    );
    assert_eq!(confirmed.unwrap().into_inner().pairing.unwrap().client_name, "Krita");
    assert_eq!(told.state(), v1::PairingState::Confirmed);
    status(&daemon, &told.token).await.unwrap();

    let listed = user.list_tokens(v1::ListTokensRequest {}).await.unwrap().into_inner().tokens;
    assert_eq!((listed.len(), &listed[0].token_id), (1, &told.token_id));
    assert!(listed[0].last_use_time.is_some() && !listed[0].browser);
    user.revoke_token(v1::RevokeTokenRequest { token_id: told.token_id }).await.unwrap();
    assert_eq!(status(&daemon, &told.token).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_no_is_told_and_gives_nothing() {
    let daemon = Daemon::start(quick()).await;
    let (mut plugin, mut user) = (plugin(&daemon), user(&daemon));
    let begun = begin(&mut plugin, &[]).await;
    user.reject_pairing(v1::RejectPairingRequest { code: begun.code.clone() }).await.unwrap();
    let told_to_plugin = answer(&mut plugin, &begun.pairing_id).await;
    assert_eq!((told_to_plugin.state(), told_to_plugin.token.as_str()), (v1::PairingState::Rejected, ""));
    let again = user.confirm_pairing(v1::ConfirmPairingRequest { code: begun.code }).await.unwrap_err();
    assert_eq!(told(&again).1, "PAIRING_NOT_FOUND");
    assert!(user.list_tokens(v1::ListTokensRequest {}).await.unwrap().into_inner().tokens.is_empty());
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say() {
    let daemon = Daemon::start(quick()).await;
    let read = paired(&daemon, &[v1::Scope::Read]).await;
    assert_eq!(read.scopes, [i32::from(v1::Scope::Read)]);
    status(&daemon, &read.token).await.unwrap();
    let mut generations = v1::generation_service_client::GenerationServiceClient::new(daemon.tcp_channel());
    let run = with(&read.token, v1::CreateGenerationRequest::default());
    let refused = generations.create_generation(run).await.unwrap_err();
    assert_eq!((told(&refused).1.as_str(), refused.code()), ("PERMISSION_DENIED", Code::PermissionDenied));
    assert!(refused.message().contains("generate"), "{refused}");
    // Models, garbage and the tokens of others are for the owner, whatever was paired.
    let all = paired(&daemon, &[]).await;
    let mut access = plugin(&daemon);
    let confirm = with(&all.token, v1::ConfirmPairingRequest { code: "BBBB-BBBB".into() });
    assert_eq!(access.confirm_pairing(confirm).await.unwrap_err().code(), Code::PermissionDenied);
    let other = with(&all.token, v1::RevokeTokenRequest { token_id: read.token_id.clone() });
    assert_eq!(access.revoke_token(other).await.unwrap_err().code(), Code::PermissionDenied);
    let mut models = v1::model_service_client::ModelServiceClient::new(daemon.tcp_channel());
    let unload = with(&all.token, v1::UnloadModelRequest { name: "drill".into() });
    assert_eq!(models.unload_model(unload).await.unwrap_err().code(), Code::PermissionDenied);
    // Its own it may give back.
    access.revoke_token(with(&all.token, v1::RevokeTokenRequest::default())).await.unwrap();
    assert_eq!(status(&daemon, &all.token).await.unwrap_err().code(), Code::Unauthenticated);
    status(&daemon, &read.token).await.unwrap();
}

#[tokio::test]
async fn what_is_asked_for_in_the_wrong_way_is_named() {
    let daemon = Daemon::start(quick()).await;
    let mut plugin = plugin(&daemon);
    let wrong = v1::BeginPairingRequest { client_name: "\u{1b}[2J".into(), scopes: vec![4, 9] };
    let fields = told(&plugin.begin_pairing(wrong).await.unwrap_err()).2;
    assert_eq!(fields, ["client_name", "scopes[0]", "scopes[1]"]);
    let wait = Some(prost_types::Duration { seconds: 61, nanos: 0 });
    let wrong = v1::PollPairingRequest { pairing_id: String::new(), wait };
    assert_eq!(told(&plugin.poll_pairing(wrong).await.unwrap_err()).2, ["pairing_id", "wait"]);
    let unknown = v1::PollPairingRequest { pairing_id: "x".into(), wait: None };
    assert_eq!(told(&plugin.poll_pairing(unknown).await.unwrap_err()).1, "PAIRING_NOT_FOUND");
}

#[tokio::test]
async fn nobody_but_the_user_answers_or_looks() {
    let daemon = Daemon::start(quick()).await;
    let mut stranger = plugin(&daemon);
    begin(&mut stranger, &[]).await;
    let list = stranger.list_pairings(v1::ListPairingsRequest {}).await.unwrap_err();
    let confirm = stranger.confirm_pairing(v1::ConfirmPairingRequest::default()).await.unwrap_err();
    let tokens = stranger.list_tokens(v1::ListTokensRequest {}).await.unwrap_err();
    let code = stranger.create_browser_code(v1::CreateBrowserCodeRequest {}).await.unwrap_err();
    for refused in [list, confirm, tokens, code] {
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let with_owners = with(TOKEN, v1::ListPairingsRequest {});
    assert_eq!(stranger.list_pairings(with_owners).await.unwrap().into_inner().pairings.len(), 1);
}

#[tokio::test]
async fn pairings_of_one_place_are_few() {
    let daemon = Daemon::start(quick()).await;
    let mut plugin = plugin(&daemon);
    for _ in 0..easel_domain::limits::MAX_PENDING_PAIRINGS_OF_ONE {
        begin(&mut plugin, &[]).await;
    }
    let request = v1::BeginPairingRequest { client_name: "one more".into(), scopes: Vec::new() };
    let refused = plugin.begin_pairing(request).await.unwrap_err();
    assert_eq!((told(&refused).1.as_str(), refused.code()), ("QUOTA_EXCEEDED", Code::ResourceExhausted));
}
