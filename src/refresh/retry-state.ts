import * as v from 'valibot';
import type { Credential } from '../credential.ts';
import { loginCommand } from '../credentials/login-required.ts';
import { type HoldfastError, NetworkError, RefreshLimitedError, TimeoutError } from '../errors.ts';
import { quote } from '../quote.ts';

/*
 * What the holders of a lease tell each other: how the last tries to refresh this credential went. A failing server
 * then gets requests from one process at a time, at growing intervals, however many callers want a token. A server
 * whose tokens are never usable is not asked for ever.
 *
 * Times are by the wall clock. A time in the future was written before the clock was set back, so it is ignored.
 */

/** The pause after a first failure, in milliseconds; it doubles with each further failure. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 10_000;
/** After failures before anything was sent: they cost the server nothing and leave no doubt. */
const FIRST_UNSENT_PAUSE_MS = 250;
const LONGEST_UNSENT_PAUSE_MS = 2_000;

/**
 * A server may still process a request that it did not answer. If we sent the same refresh token again meanwhile, a
 * strict server would take it for stolen. After this time, in milliseconds, the request has been dropped or its answer
 * is lost.
 */
const IN_DOUBT_PAUSE_MS = 60_000;

/**
 * Longest such pause after a gateway's error or a broken connection while callers wait for the new token, in
 * milliseconds.
 */
const AWAITED_PAUSE_MS = 5_000;

/** The pause between a first refusal and the second request that confirms it, in milliseconds. */
const REFUSAL_PAUSE_MS = 1_000;

/** After a believed refusal, the refresher tries once more after this time, in milliseconds. */
const ENDED_PAUSE_MS = 3_600_000;

/** The pause while an authorization server refuses many logins at once, in milliseconds. */
const DISBELIEVED_PAUSE_MS = 60_000;

/** This many refreshes without a usable token within a minute are not a coincidence. */
const MOST_INEFFECTIVE = 5;
const INEFFECTIVE_WITHIN_MS = 60_000;

/** A longer `Retry-After` of a server is ignored (http/request.ts), in milliseconds. */
const LONGEST_NOTED_PAUSE_MS = 3_600_000;

/**
 * How far ahead a note may seem to be, in milliseconds. Each holder estimates the engine's clock with the error of one
 * round trip.
 */
const CLOCK_TOLERANCE_MS = 5_000;

const time = v.pipe(v.number(), v.safeInteger());

const Note = v.object({
  /** The generation whose token was sent, and its login: a failure of another one says nothing about this one. */
  generation: time,
  loggedInAt: time,
  /** A request is running, or its sender died. */
  sentAt: v.optional(time),
  failures: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  failedAt: v.optional(time),
  /** How long after `failedAt` the next try may start, in milliseconds. */
  pauseMs: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(LONGEST_NOTED_PAUSE_MS))),
  inDoubt: v.optional(v.boolean()),
  /** When the server first refused this generation. */
  refusedAt: v.optional(time),
  /**
   * The reason, as it was reported. It holds our own text and quoted text, so a note with other characters is not ours.
   */
  why: v.optional(
    v.pipe(v.string(), v.maxLength(600), v.regex(/^[^\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]*$/u)),
  ),
  /** When refreshes yielded no usable token. */
  fruitless: v.pipe(v.array(time), v.maxLength(MOST_INEFFECTIVE)),
});
type Note = v.InferOutput<typeof Note>;

export class RetryState {
  readonly #note: Note;

  private constructor(note: Note) {
    this.#note = note;
  }

  /** Reads from the note what matters for this credential now. It ignores a note that it cannot read. */
  static read(text: string | undefined, credential: Credential, now: number): RetryState {
    const { generation, loggedInAt } = credential;
    const nothing: Note = { generation, loggedInAt, failures: 0, fruitless: [] };
    const parsed = v.safeParse(Note, parse(text));
    if (!parsed.success || parsed.output.loggedInAt !== loggedInAt) return new RetryState(nothing);
    const note = parsed.output;
    const fruitless = note.fruitless.filter((at) => at <= now && now - at < INEFFECTIVE_WITHIN_MS);
    const failedAt = note.failedAt ?? 0;
    const tells = note.generation === generation && failedAt <= now + CLOCK_TOLERANCE_MS;
    return new RetryState(tells ? { ...note, fruitless } : { ...nothing, fruitless });
  }

  /** The note for the next holder; empty if there is nothing to record. */
  get noteText(): string {
    const { failures, fruitless, sentAt } = this.#note;
    const isEmpty = failures === 0 && fruitless.length === 0 && sentAt === undefined;
    return isEmpty ? '' : JSON.stringify(this.#note);
  }

  /** How long to wait before the next try, in milliseconds. */
  pauseMs(now: number): number {
    const { failedAt, pauseMs = 0 } = this.#note;
    return failedAt === undefined ? 0 : Math.max(0, failedAt + pauseMs - now);
  }

  /** The error for a caller that cannot wait that long: what happened, and when the next try will start. */
  failure({ resource }: Credential, now: number): HoldfastError {
    const { failedAt = now, why = 'The last try failed.', inDoubt } = this.#note;
    const ago = Math.round((now - failedAt) / 1000);
    const next = Math.ceil(this.pauseMs(now) / 1000);
    const message = `The login to ${resource} could not be refreshed ${ago} s ago: ${why}`;
    const hint = `Try again in ${next} s. The login is unharmed.`;
    return inDoubt === true
      ? new TimeoutError(`${message} The server may still be at it.`, { hint })
      : new NetworkError(message, { hint, retryAfterMs: this.pauseMs(now) });
  }

  /** @throws RefreshLimitedError when the last refreshes yielded no usable token */
  checkEffective({ resource, account, server }: Credential, now: number): void {
    const { fruitless } = this.#note;
    if (fruitless.length < MOST_INEFFECTIVE) return;
    const waitS = Math.ceil(((fruitless[0] ?? now) + INEFFECTIVE_WITHIN_MS - now) / 1000);
    throw new RefreshLimitedError(
      `The login to ${resource} was refreshed ${fruitless.length} times within a minute, and each new token was refused or had expired on arrival.`,
      {
        hint: `Check the clock of this machine (date). If it is right, tell who runs ${quote(server.issuer)}, or log in again: ${loginCommand(resource, account)}. The next refresh is made in ${waitS} s.`,
      },
    );
  }

  /** When a request for this generation was sent, if its sender never recorded the outcome: the sender died. */
  get abandonedAt(): number | undefined {
    return this.#note.sentAt;
  }

  /** Whether the last request left open what became of the refresh token. */
  get isInDoubt(): boolean {
    return this.#note.inDoubt === true;
  }

  /** Records that a request is about to be sent. */
  sending(now: number): RetryState {
    return new RetryState({ ...this.#note, sentAt: now });
  }

  /**
   * Records a failure. Every failure causes a pause, or each caller would send another request at once.
   *
   * @param serves whether the old access token is still usable, so that no caller waits for this refresh
   */
  failed(error: HoldfastError, now: number, serves: boolean): RetryState {
    const doubtMs = doubtOf(error, serves);
    return this.#after(
      error,
      now,
      Math.max(doubtMs, pauseAfter(error, this.#note.failures + 1)),
      doubtMs > 0,
    );
  }

  /**
   * Records that the server refused the refresh token or the client. A refusal can be temporary: a replica lags behind,
   * a gateway interferes, or the server could not fetch the client's metadata. Only a second refusal, at least a second
   * later, counts.
   */
  refused(error: HoldfastError, now: number): RetryState {
    const next = this.#after(error, now, REFUSAL_PAUSE_MS * (1 + Math.random() / 2), false);
    return new RetryState({ ...next.#note, refusedAt: this.#note.refusedAt ?? now });
  }

  /** Whether the server refused this generation long enough ago for another refusal to count. */
  wasRefused(now: number): boolean {
    const { refusedAt } = this.#note;
    return refusedAt !== undefined && now - refusedAt >= REFUSAL_PAUSE_MS;
  }

  /** Records a believed refusal: no caller sends another request, and the refresher does so rarely. */
  ended(error: HoldfastError, now: number): RetryState {
    return this.#after(error, now, ENDED_PAUSE_MS, false);
  }

  /** Records a refusal that is not believed, because the server refuses many logins at once. */
  disbelieved(error: HoldfastError, now: number): RetryState {
    return this.#after(error, now, DISBELIEVED_PAUSE_MS * (0.75 + Math.random() / 2), false);
  }

  #after(error: HoldfastError, now: number, pauseMs: number, inDoubt: boolean): RetryState {
    const { sentAt: _over, ...note } = this.#note;
    return new RetryState({
      ...note,
      failures: note.failures + 1,
      failedAt: now,
      inDoubt,
      pauseMs: Math.round(pauseMs),
      // Do not end in half a surrogate pair.
      why: error.message.slice(0, 200).replace(/[\ud800-\udbff]$/, ''),
    });
  }

  /** Records a success. Its token is this credential's; only its use shows whether it is usable. */
  succeeded({ generation, loggedInAt }: Credential): RetryState {
    return new RetryState({ generation, loggedInAt, failures: 0, fruitless: this.#note.fruitless });
  }

  /** Records that the last refresh was useless: its token was refused, or had expired on arrival. */
  ineffective(now: number): RetryState {
    return new RetryState({
      ...this.#note,
      fruitless: [...this.#note.fruitless, now].slice(-MOST_INEFFECTIVE),
    });
  }
}

/** How long the server may still process the request, in milliseconds; 0 if it has answered or never received it. */
function doubtOf(error: HoldfastError, serves: boolean): number {
  if (error instanceof TimeoutError) return IN_DOUBT_PAUSE_MS;
  if (!(error instanceof NetworkError)) return 0;
  return serves ? error.inDoubtMs : Math.min(error.inDoubtMs, AWAITED_PAUSE_MS);
}

function pauseAfter(error: HoldfastError, failures: number): number {
  const network = error instanceof NetworkError ? error : undefined;
  const [first, longest] =
    network?.unsent === true
      ? [FIRST_UNSENT_PAUSE_MS, LONGEST_UNSENT_PAUSE_MS]
      : [FIRST_PAUSE_MS, LONGEST_PAUSE_MS];
  const grown = Math.min(longest, first * 2 ** Math.min(failures - 1, 10));
  return Math.max(grown * (0.75 + Math.random() / 2), network?.retryAfterMs ?? 0);
}

function parse(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}
