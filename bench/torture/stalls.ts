import { sharedNow } from './shared-clock.ts';

const TICK_MS = 20;
const STALL_MS = 150;

/** When nothing ran in this process, by the shared clock: it did not, or the machine stood still. */
export class Stalls {
  readonly spans: (readonly [from: number, to: number])[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor() {
    let last = sharedNow();
    this.#timer = setInterval(() => {
      const now = sharedNow();
      if (now - last > STALL_MS) this.spans.push([last, now]);
      last = now;
    }, TICK_MS);
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
