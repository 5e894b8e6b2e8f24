import { MemoryEngine, type SharedMemory } from '../../../examples/engine-of-your-own.ts';
import { StoreUnreachableError } from '../../../src/errors.ts';
import type { ClaimEnd, Engine } from '../../../src/store/engine/engine.ts';

/*
 * Makes a real process take its steps in a given order. The process stops before each call to the engine. A step lets
 * it run to the next call of that step, makes the call, and keeps the answer until the process takes its next step.
 */

/** The code does not do what the trace says. */
export class Differs extends Error {}

/** Time limit for a process to reach its next call, in milliseconds. */
const PATIENCE_MS = 8_000;

/** Calls that change something. They are made only if the trace says so. */
const CHANGES = new Set(['claim', 'announce', 'write', 'move', 'remove', 'putOutbox', 'deliver']);

interface Waiting {
  readonly name: string;
  readonly make: () => Promise<unknown>;
  readonly answer: (value: unknown) => void;
  readonly fail: (error: Error) => void;
}

export class Conductor {
  readonly name: string;
  isStopped = false;
  isDead = false;
  /** Calls that fail as on a network that is down. */
  readonly broken = new Set<string>();
  #letsClaim = false;
  #waiting: Waiting[] = [];
  #expected: ReadonlySet<string> = new Set();
  #kept: (() => void) | undefined;
  #wake: () => void = () => {};

  constructor(name: string) {
    this.name = name;
  }

  /** The engine as that process sees it. */
  engine(shared: SharedMemory): Engine {
    return new Proxy<Engine>(new MemoryEngine(shared), {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]) => {
          const make = async () => (await Reflect.apply(value, target, given)) as unknown;
          if (isAnnouncement(name, given)) return this.call('announce', make);
          return this.call(String(name), make, name === 'release' ? isLast(shared, given) : undefined);
        };
      },
    });
  }

  call(name: string, make: () => Promise<unknown>, isChange = CHANGES.has(name)): Promise<unknown> {
    if (this.isDead || (this.isStopped && name === 'renew')) return new Promise(() => {});
    if (this.broken.has(name))
      return Promise.reject(new StoreUnreachableError('The network to the engine is down.'));
    // The release of a claim that was let through is let through too.
    if (this.#letsClaim && name === 'release') return make();
    const passes = !isChange && !this.#expected.has(name);
    if (passes || (name === 'claim' && this.#letsClaim)) return make();
    return new Promise((answer, fail) => {
      this.#waiting.push({ name, make, answer, fail });
      this.#wake();
    });
  }

  /** Gives the process the answer that was kept back, and lets it run. */
  goOn(): void {
    this.#kept?.();
    this.#kept = undefined;
  }

  keep(answer: () => void): void {
    this.#kept = answer;
  }

  /** Waits until the process makes one of these calls, makes the call, and keeps the answer back. */
  async to(expected: readonly string[], { isLost = false } = {}): Promise<unknown> {
    const call = await this.arrival(expected);
    const made = await call.make();
    const lost = new StoreUnreachableError('The connection to the engine broke off.');
    this.keep(() => (isLost ? call.fail(lost) : call.answer(made)));
    return made;
  }

  /** Waits until the process makes that call, and loses the call on the way to the engine. */
  async loses(name: string): Promise<void> {
    const { fail } = await this.arrival([name]);
    this.keep(() => fail(new StoreUnreachableError('The network to the engine is down.')));
  }

  /** Waits until the process makes one of these calls, which is not made yet. */
  async arrival(expected: readonly string[], isLeft = false): Promise<Waiting> {
    this.#expected = new Set(expected);
    this.goOn();
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const index = this.#waiting.findIndex(({ name }) => expected.includes(name));
      const call = this.#waiting[index];
      if (call !== undefined) {
        if (!isLeft) this.#waiting.splice(index, 1);
        this.#expected = new Set();
        return call;
      }
      if (Date.now() > end) {
        const instead = this.#waiting.map(({ name }) => name).join(', ') || 'nothing';
        throw new Differs(`${this.name} should come to ${expected.join(' or ')}, and comes to ${instead}.`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 50);
      });
    }
  }

  /** Lets claims through as they come, including those that already wait. */
  letClaim(may: boolean): void {
    this.#letsClaim = may;
    if (!may) return;
    const claims = this.#waiting.filter(({ name }) => name === 'claim');
    this.#waiting = this.#waiting.filter(({ name }) => name !== 'claim');
    for (const { make, answer, fail } of claims) make().then(answer, fail);
  }

  kill(): void {
    this.isDead = true;
    this.#waiting = [];
    this.#kept = undefined;
  }
}

/** Whether this is the first renewal of a claim, which demands a version; later ones do not. */
function isAnnouncement(name: string | symbol, [, , , , only]: unknown[]): boolean {
  return name === 'renew' && only !== undefined;
}

/** Whether that release would end the latest claim. */
function isLast({ claims }: SharedMemory, [id, end]: unknown[]): boolean {
  const claim = claims.get(String(id));
  return claim?.released === false && claim.epoch === (end as ClaimEnd).epoch;
}
