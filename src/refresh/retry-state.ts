import * as v from 'valibot';
import type { Credential } from '../credential.ts';
import { loginCommand } from '../credentials/login-required.ts';
import { type HoldfastError, NetworkError, RefreshLimitedError, TimeoutError } from '../errors.ts';
import { quote } from '../quote.ts';

/*
 * What the holders of a lease leave each other: how the last tries to refresh this credential went. So a server that is
 * in trouble hears from one process at a time, at growing intervals, however many want a token; and one whose tokens are
 * good for nothing is not asked for ever.
 *
 * By the wall clock. What seems to come from the future was written by a clock that was set back since, and is forgotten.
 */

/** The pause after a first failure, doubled with each further one, in milliseconds. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 10_000;
/** After failures that came before anything was sent, which cost the server nothing and leave no doubt. */
const FIRST_UNSENT_PAUSE_MS = 250;
const LONGEST_UNSENT_PAUSE_MS = 2_000;

/**
 * A request that got no answer may still be processed. Presented again meanwhile, the same refresh token would look
 * stolen to a strict server; after this long, in milliseconds, it has either been dropped or its answer is lost anyway.
 */
const IN_DOUBT_PAUSE_MS = 60_000;

/** The longest such pause after a gateway's word, or a connection that broke, where callers wait for the new token, in ms. */
const AWAITED_PAUSE_MS = 5_000;

/** The pause between a first refusal and the question whether the server means it, in milliseconds. */
const REFUSAL_PAUSE_MS = 1_000;

/** After a refusal that is believed, the refresher asks once more in this time, in milliseconds. */
const ENDED_PAUSE_MS = 3_600_000;

/** While an authorization server refuses many logins at once, in milliseconds. */
const DISBELIEVED_PAUSE_MS = 60_000;

/** So many refreshes within a minute that yielded no usable token are no accident any more. */
const MOST_FRUITLESS = 5;
const FRUITLESS_WITHIN_MS = 60_000;

/** No server's `Retry-After` is believed for longer (http/request.ts), in milliseconds. */
const LONGEST_NOTED_PAUSE_MS = 3_600_000;

/**
 * Holders estimate the engine's clock, each with the error of one round trip, so a note may seem to come from a moment ahead, in
 * milliseconds.
 */
const CLOCK_TOLERANCE_MS = 5_000;

const time = v.pipe(v.number(), v.safeInteger());

const Note = v.object({
  /** The generation that was presented, and the login that it belongs to: what failed for another says nothing. */
  generation: time,
  loggedInAt: time,
  /** A request is under way, or its sender died. */
  sentAt: v.optional(time),
  failures: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  failedAt: v.optional(time),
  /** How long after that the next try may be made. */
  pauseMs: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(LONGEST_NOTED_PAUSE_MS))),
  inDoubt: v.optional(v.boolean()),
  /** When the server first refused this very generation. */
  refusedAt: v.optional(time),
  /** Why, as it was said: our own words and quoted ones, so a note with anything else is not ours. */
  why: v.optional(
    v.pipe(v.string(), v.maxLength(600), v.regex(/^[^\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]*$/u)),
  ),
  /** When refreshes were made that yielded nothing usable. */
  fruitless: v.pipe(v.array(time), v.maxLength(MOST_FRUITLESS)),
});
type Note = v.InferOutput<typeof Note>;

export class RetryState {
  readonly #note: Note;

  private constructor(note: Note) {
    this.#note = note;
  }

  /** What the note says that matters for this credential now. A note that cannot be read says nothing. */
  static read(text: string | undefined, credential: Credential, now: number): RetryState {
    const { generation, loggedInAt } = credential;
    const nothing: Note = { generation, loggedInAt, failures: 0, fruitless: [] };
    const parsed = v.safeParse(Note, parse(text));
    if (!parsed.success || parsed.output.loggedInAt !== loggedInAt) return new RetryState(nothing);
    const note = parsed.output;
    const fruitless = note.fruitless.filter((at) => at <= now && now - at < FRUITLESS_WITHIN_MS);
    const failedAt = note.failedAt ?? 0;
    const tells = note.generation === generation && failedAt <= now + CLOCK_TOLERANCE_MS;
    return new RetryState(tells ? { ...note, fruitless } : { ...nothing, fruitless });
  }

  /** What the next holder is told; empty where there is nothing to tell. */
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

  /** For who cannot wait so long: what happened, and when the next try will be made. */
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

  /** @throws RefreshLimitedError when the last refreshes yielded nothing usable */
  checkEffective({ resource, account, server }: Credential, now: number): void {
    const { fruitless } = this.#note;
    if (fruitless.length < MOST_FRUITLESS) return;
    const waitS = Math.ceil(((fruitless[0] ?? now) + FRUITLESS_WITHIN_MS - now) / 1000);
    throw new RefreshLimitedError(
      `The login to ${resource} was refreshed ${fruitless.length} times within a minute, and each new token was refused or had expired on arrival.`,
      {
        hint: `Check the clock of this machine (date). If it is right, tell who runs ${quote(server.issuer)}, or log in again: ${loginCommand(resource, account)}. The next refresh is made in ${waitS} s.`,
      },
    );
  }

  /** When a request for this very generation was sent whose sender never told how it went: it died. */
  get abandonedAt(): number | undefined {
    return this.#note.sentAt;
  }

  /** Whether the last request got no answer that tells what became of the refresh token. */
  get isInDoubt(): boolean {
    return this.#note.inDoubt === true;
  }

  /** A request is about to be sent. */
  sending(now: number): RetryState {
    return new RetryState({ ...this.#note, sentAt: now });
  }

  /**
   * It failed. Every failure leaves a pause, or each caller would ask at once again.
   *
   * @param serves whether the old access token still serves, so that nobody waits for this refresh
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
   * The server refused the refresh token or the client. A refusal can pass: a replica that lags behind, a gateway, a server
   * that could not fetch the client's metadata. It counts when it is given twice, at least a second apart.
   */
  refused(error: HoldfastError, now: number): RetryState {
    const next = this.#after(error, now, REFUSAL_PAUSE_MS * (1 + Math.random() / 2), false);
    return new RetryState({ ...next.#note, refusedAt: this.#note.refusedAt ?? now });
  }

  /** Whether the server refused this generation a while ago, so that another refusal counts. */
  wasRefused(now: number): boolean {
    const { refusedAt } = this.#note;
    return refusedAt !== undefined && now - refusedAt >= REFUSAL_PAUSE_MS;
  }

  /** The refusal is believed: no caller asks again, and the refresher does so rarely. */
  ended(error: HoldfastError, now: number): RetryState {
    return this.#after(error, now, ENDED_PAUSE_MS, false);
  }

  /** The refusal is not believed, since the server refuses many logins at once. */
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
      // Not half of a character.
      why: error.message.slice(0, 200).replace(/[\ud800-\udbff]$/, ''),
    });
  }

  /** A refresh succeeded. What it yielded is this credential; whether that is of any use shows when it is used. */
  succeeded({ generation, loggedInAt }: Credential): RetryState {
    return new RetryState({ generation, loggedInAt, failures: 0, fruitless: this.#note.fruitless });
  }

  /** The token at hand was refused, or had expired on arrival, so it is refreshed for nothing. */
  ineffective(now: number): RetryState {
    return new RetryState({
      ...this.#note,
      fruitless: [...this.#note.fruitless, now].slice(-MOST_FRUITLESS),
    });
  }
}

/** For how long the server may still process the request, in milliseconds; 0 where it has answered, or never got it. */
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
