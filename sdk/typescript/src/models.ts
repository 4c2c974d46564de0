// The models of the daemon: which there are, and whether they are in memory.

import { createClient } from "@connectrpc/connect";

import { ask, each } from "./call.js";
import type { CallOptions } from "./client.js";
import { required } from "./event.js";
import { type Model, ModelService } from "./gen/easel/v1/model_pb.js";
import type { Link } from "./link.js";

/** How far the loading of a model is. */
export interface Loading {
  /** The model as it stands. */
  readonly model: Model;
  /** Share that is loaded, 0 to 1. */
  readonly fraction: number;
}

/** The models of a daemon; `easel.models`. */
export class Models {
  private readonly service;

  constructor(link: Link) {
    this.service = createClient(ModelService, link.transport);
  }

  /** The models, the default first. */
  async list(options: CallOptions = {}): Promise<Model[]> {
    return (await ask((call) => this.service.listModels({}, call), options.signal)).models;
  }

  /** One model. */
  async get(name: string, options: CallOptions = {}): Promise<Model> {
    return required((await ask((call) => this.service.getModel({ name }, call), options.signal)).model, "model");
  }

  /**
   * Adds a checkpoint folder of the daemon's machine; only over the Unix socket. `folder` is an absolute path; without a name the
   * folder's own is taken.
   */
  async add(folder: string, name = "", options: CallOptions = {}): Promise<Model> {
    const answer = await ask((call) => this.service.addModel({ folder, name }, call), options.signal);
    return required(answer.model, "model");
  }

  /** Loads a model and tells how far it is, until it is ready. Paired tokens may not. */
  async *load(name: string, options: CallOptions = {}): AsyncGenerator<Loading, undefined> {
    const call = options.signal === undefined ? {} : { signal: options.signal };
    for await (const { model, fraction } of each(this.service.loadModel({ name }, call), options.signal)) {
      yield { model: required(model, "model"), fraction };
    }
    return undefined;
  }

  /** Frees a model's memory when its running work is done. Paired tokens may not. */
  async unload(name: string, options: CallOptions = {}): Promise<Model> {
    return required((await ask((call) => this.service.unloadModel({ name }, call), options.signal)).model, "model");
  }
}
