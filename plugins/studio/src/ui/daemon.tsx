// How the daemon is doing: queue, stages as a live timeline, memory and models.

import { type Model, ModelState } from "@easel/sdk";
import { useEffect, useRef } from "preact/hooks";

import type { Sample, State, Studio } from "../model.js";

const STATES: Partial<Record<ModelState, string>> = {
  [ModelState.UNLOADED]: "not in memory",
  [ModelState.LOADING]: "loading",
  [ModelState.LOADED]: "in memory",
  [ModelState.FAILED]: "failed",
};

export function Daemon({ studio, state }: { studio: Studio; state: State }) {
  const { status, models, samples, version } = state;
  return (
    <section class="card daemon" aria-label="Daemon">
      <h2>Daemon <small>{version}</small></h2>
      {status !== undefined && (
        <dl>
          <div><dt>Running</dt><dd>{status.running}</dd></div>
          <div><dt>Waiting</dt><dd>{status.queued}</dd></div>
          <div><dt>Memory</dt><dd>{bytes(status.memory?.residentBytes)}</dd></div>
          <div><dt>Weights</dt><dd>{bytes(status.memory?.modelBytes)}</dd></div>
        </dl>
      )}
      <ul class="lanes">
        {(status?.stages ?? []).map(({ name, occupancy, device }) => (
          <li key={name}>
            <span title={`computes on ${device}`}>{name}</span>
            <Lane name={name} samples={samples} />
            <span class="share">{Math.round(occupancy * 100)} %</span>
          </li>
        ))}
      </ul>
      <ul class="models">
        {models.map((model) => <ModelRow key={model.name} studio={studio} model={model} />)}
      </ul>
    </section>
  );
}

function ModelRow({ studio, model }: { studio: Studio; model: Model }) {
  const loaded = model.state === ModelState.LOADED;
  return (
    <li>
      <span>
        {model.name}
        <small>{model.problem || STATES[model.state]}{model.license && `, ${model.license}`}</small>
      </span>
      <button
        type="button"
        class="quiet"
        disabled={model.state === ModelState.LOADING}
        aria-label={`${loaded ? "Unload" : "Load"} ${model.name}`}
        onClick={() => void studio.toggleModel(model, !loaded)}
      >
        {loaded ? "Unload" : "Load"}
      </button>
    </li>
  );
}

/** The last minute of a stage, a bar for each look that found it busy. */
function Lane({ name, samples }: { name: string; samples: readonly Sample[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (context === null || context === undefined || canvas.current === null) {
      return;
    }
    const { width, height } = canvas.current;
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(canvas.current).color;
    const step = width / 120;
    samples.forEach(({ busy }, at) => {
      const x = width - (samples.length - at) * step;
      const tall = busy.has(name) ? height : 2;
      context.fillRect(x, height - tall, Math.max(step - 0.5, 1), tall);
    });
  }, [name, samples]);
  return <canvas ref={canvas} width={240} height={24} role="img" aria-label={`Occupancy of the ${name} in the last minute`} />;
}

function bytes(count: bigint | undefined): string {
  const mib = Number(count ?? 0n) / (1024 * 1024);
  return mib >= 1024 ? `${(mib / 1024).toFixed(1)} GiB` : `${Math.round(mib)} MiB`;
}
