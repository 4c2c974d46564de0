// Sessions: a picture with the tree of its revisions, kept by the daemon.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";

import { ask } from "./call.js";
import type { CallOptions } from "./client.js";
import { required } from "./event.js";
import type { Generation } from "./gen/easel/v1/generation_pb.js";
import {
  type CompareRevisionsResponse,
  type Removed,
  type Replay,
  type Revision,
  type Session,
  type SessionEditSchema,
  SessionService,
  type UpdateSessionRequestSchema,
} from "./gen/easel/v1/session_pb.js";
import type { Link } from "./link.js";
import { type GenerateOptions, messagesOf, sourceOf } from "./request.js";
import { Run } from "./run.js";
import { type SessionEvent, watchSession } from "./session_watch.js";
import { persist, type Picture } from "./transfer.js";

/** What an edit of a session can say beside its instruction. */
export type SessionEditOptions = GenerateOptions & {
  /** The revision to edit. Default: the one at which the session stands. */
  readonly revisionId?: string | undefined;
};

/** What makes a revision again: fields that are set replace those of its making; without a seed a new one is drawn. */
export type RerunOptions = GenerateOptions & {
  /** Replaces the instruction. */
  readonly prompt?: string | undefined;
};

type Edit = MessageInitShape<typeof SessionEditSchema>;

/** The sessions of a daemon; `easel.sessions`. */
export class Sessions {
  private readonly service;

  constructor(private readonly link: Link) {
    this.service = createClient(SessionService, link.transport);
  }

  /** Makes a session, with a picture to begin with or without: then the first edit makes one from its text. */
  async create(name: string, picture?: Picture, options: CallOptions = {}): Promise<Session> {
    const image = picture === undefined ? {} : { image: await sourceOf(this.link, picture, options.signal) };
    const answer = await ask((call) => this.service.createSession({ name, ...image }, call), options.signal);
    return required(answer.session, "session");
  }

  /** A session as it stands. */
  async get(sessionId: string, options: CallOptions = {}): Promise<Session> {
    const answer = await ask((call) => this.service.getSession({ sessionId }, call), options.signal);
    return required(answer.session, "session");
  }

  /** All sessions, the last changed first. */
  async list(options: CallOptions = {}): Promise<Session[]> {
    const all: Session[] = [];
    for (let pageToken = ""; ; ) {
      const page = await ask((call) => this.service.listSessions({ pageToken }, call), options.signal);
      all.push(...page.sessions);
      pageToken = page.nextPageToken;
      if (pageToken === "") {
        return all;
      }
    }
  }

  /** Renames or pins a session, or changes the draft of its next edit, which every viewer sees. */
  async update(
    sessionId: string,
    changes: Omit<MessageInitShape<typeof UpdateSessionRequestSchema>, "$typeName" | "$unknown" | "sessionId">,
    options: CallOptions = {},
  ): Promise<Session> {
    const request = { ...changes, sessionId };
    const answer = await ask((call) => this.service.updateSession(request, call), options.signal);
    return required(answer.session, "session");
  }

  /** Deletes a session for good; what it still runs is cancelled. */
  async delete(sessionId: string, options: CallOptions = {}): Promise<Removed> {
    const answer = await ask((call) => this.service.deleteSession({ sessionId }, call), options.signal);
    return required(answer.removed, "count");
  }

  /** All revisions of a session, oldest first. */
  async revisions(sessionId: string, options: CallOptions = {}): Promise<Revision[]> {
    const all: Revision[] = [];
    for (let pageToken = ""; ; ) {
      const page = await ask((call) => this.service.listRevisions({ sessionId, pageToken }, call), options.signal);
      all.push(...page.revisions);
      pageToken = page.nextPageToken;
      if (pageToken === "") {
        return all;
      }
    }
  }

  /** A revision of a session; `easel.picture` gives the bytes of its image. */
  async revision(sessionId: string, revisionId: string, options: CallOptions = {}): Promise<Revision> {
    const answer = await ask((call) => this.service.getRevision({ sessionId, revisionId }, call), options.signal);
    return required(answer.revision, "revision");
  }

  /**
   * Edits a revision. The edit goes on when this client goes away, and a run that was lost comes back, even to another run of
   * the daemon. Aborting the signal cancels it.
   */
  edit(sessionId: string, instruction: string, options: SessionEditOptions = {}): Run {
    const { signal, ...rest } = options;
    return this.run(signal, () => this.createEdit(sessionId, instruction, rest));
  }

  /** Makes a revision again, from the revision that it was made from. */
  rerun(sessionId: string, revisionId: string, options: RerunOptions = {}): Run {
    const { signal, ...rest } = options;
    return this.run(signal, () => this.createRerun(sessionId, revisionId, rest));
  }

  /** As {@link edit}, without the events. */
  createEdit(sessionId: string, instruction: string, options: SessionEditOptions = {}): Promise<Generation> {
    const { revisionId, ...rest } = options;
    const { spec, policy } = messagesOf(rest);
    const edit: Edit = { revisionId: revisionId ?? "", spec: { ...spec, prompt: instruction } as Edit["spec"], policy };
    return this.start(sessionId, edit, options.signal);
  }

  /** As {@link rerun}, without the events. */
  createRerun(sessionId: string, revisionId: string, options: RerunOptions = {}): Promise<Generation> {
    const { spec, policy } = messagesOf(options);
    return this.start(sessionId, { rerunRevisionId: revisionId, spec, policy }, options.signal);
  }

  /** Goes back to the revision that the present one was made from. */
  async undo(sessionId: string, options: CallOptions = {}): Promise<Session> {
    return required((await ask((call) => this.service.undoSession({ sessionId }, call), options.signal)).session, "session");
  }

  /** Takes an undo back. */
  async redo(sessionId: string, options: CallOptions = {}): Promise<Session> {
    return required((await ask((call) => this.service.redoSession({ sessionId }, call), options.signal)).session, "session");
  }

  /** Goes to any revision; the next edit starts a branch there. */
  async goTo(sessionId: string, revisionId: string, options: CallOptions = {}): Promise<Session> {
    const answer = await ask((call) => this.service.goToRevision({ sessionId, revisionId }, call), options.signal);
    return required(answer.session, "session");
  }

  /** Measures how two revisions differ. */
  compare(
    sessionId: string,
    revisionId: string,
    otherRevisionId: string,
    options: CallOptions = {},
  ): Promise<CompareRevisionsResponse> {
    const request = { sessionId, revisionId, otherRevisionId };
    return ask((call) => this.service.compareRevisions(request, call), options.signal);
  }

  /** The way to a revision (default: where the session stands), with all inputs by their hashes. */
  async exportReplay(sessionId: string, revisionId = "", options: CallOptions = {}): Promise<Replay> {
    const answer = await ask((call) => this.service.exportReplay({ sessionId, revisionId }, call), options.signal);
    return required(answer.replay, "replay");
  }

  /** Makes a session of a replay; its pictures are to be uploaded before. */
  async importReplay(replay: Replay, name?: string, options: CallOptions = {}): Promise<Session> {
    const request = { replay, ...(name === undefined ? {} : { name }) };
    const answer = await ask((call) => this.service.importReplay(request, call), options.signal);
    return required(answer.session, "session");
  }

  /**
   * A session as it stands, each change, and the events of its generations, until it is deleted or the signal is aborted. Takes
   * itself up again after a lost connection; no event of a generation comes twice.
   */
  watch(sessionId: string, options: CallOptions = {}): AsyncGenerator<SessionEvent, undefined> {
    return watchSession(this.link, sessionId, options.signal);
  }

  /** Removes what the retention no longer keeps, or all that is not pinned and not running. */
  async collectGarbage(all = false, options: CallOptions = {}): Promise<Removed> {
    const answer = await ask((call) => this.service.collectGarbage({ all }, call), options.signal);
    return required(answer.removed, "count");
  }

  private run(signal: AbortSignal | undefined, created: () => Promise<Generation>): Run {
    return new Run(this.link, { create: created }, signal);
  }

  private async start(sessionId: string, edit: Edit, signal?: AbortSignal): Promise<Generation> {
    const call = signal === undefined ? {} : { signal };
    // The request id makes it safe to send an edit twice.
    const answer = await persist(signal, () => this.service.createSessionEdit({ sessionId, edit }, call));
    return required(answer.generation, "generation");
  }
}
