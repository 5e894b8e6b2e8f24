import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { StepMessage } from '../system/checkpoints.ts';
import { EXIT } from './exit-code.ts';

/*
 * Ends a command early. The first signal aborts the command's work, but the process waits for a running refresh. Its
 * answer exists nowhere else: a server that rotates refresh tokens ends a login whose answer is lost. A second signal
 * ends the process at once.
 */

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type Signal = (typeof SIGNALS)[number];

const EXIT_OF_SIGNAL: Readonly<Record<Signal, number>> = {
  SIGINT: EXIT.interrupted,
  SIGTERM: EXIT.terminated,
  SIGHUP: EXIT.hungUp,
};

/**
 * A second signal within this time, in milliseconds, counts as the first: a key repeats, or the user has not read the
 * message yet.
 */
const SAME_WISH_MS = 1_000;

export class Interruption {
  readonly #say: (text: string) => void;
  readonly #stop = new AbortController();
  #refreshes = 0;
  #first: { readonly at: number; readonly exitCode: number } | undefined;

  /** Listens until `dispose`. @param say gets the text about the wait */
  constructor(say: (text: string) => void) {
    this.#say = say;
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
    subscribe('holdfast:step', this.#onStep);
  }

  /** Aborts when the command must end. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** The exit code that a shell reports for a process that the signal ended; `undefined` without a signal. */
  get exitCode(): number | undefined {
    return this.#first?.exitCode;
  }

  /** Ends the command because nobody reads its output, as after `| head`. */
  outputClosed(): void {
    this.#first ??= { at: performance.now(), exitCode: EXIT.done };
    this.#stop.abort();
  }

  dispose(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    unsubscribe('holdfast:step', this.#onStep);
  }

  readonly #onSignal = (signal: Signal): void => {
    if (this.#first === undefined) {
      this.#first = { at: performance.now(), exitCode: EXIT_OF_SIGNAL[signal] };
      if (this.#refreshes > 0) {
        const again = signal === 'SIGINT' ? ' Press Ctrl-C again to stop anyway.' : '';
        this.#say(`Waiting for the answer to a refresh, because the login may be lost without it.${again}`);
      }
      this.#stop.abort();
    } else if (performance.now() - this.#first.at >= SAME_WISH_MS || this.#refreshes === 0) {
      this.dispose();
      // `holdfast run` listens too: it passes signals to its command, and ends with it.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    }
  };

  readonly #onStep = (message: unknown): void => {
    const { step } = message as StepMessage;
    if (step === 'lease-held') this.#refreshes += 1;
    else if (step === 'lease-released') this.#refreshes -= 1;
  };
}
