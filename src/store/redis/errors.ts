import {
  HoldfastError,
  retryable,
  StorageFullError,
  StoreDeniedError,
  StoreUnreachableError,
  StoreUnsuitableError,
} from '../../errors.ts';
import { quote } from '../../quote.ts';
import { passing } from '../engine/passing-refusal.ts';

/*
 * Maps a failure of Redis to an error of ours, by the first word of its answer. Before Redis 7, the word of an error
 * within a script comes later, after a dash. An error of the client carries the whole command, even the password of
 * AUTH, so it must never become a cause.
 */

export const UNREACHABLE_HINT =
  'See whether it runs and can be reached from here, and whether it speaks TLS (rediss://) or not (redis://); then try again.';

type Meaning = (said: string, where: string) => HoldfastError;

const denied: Meaning = (said, where) =>
  new StoreDeniedError(`${where} refuses: ${said}.`, {
    hint: 'Check the user and the password (in the URL or in REDISCLI_AUTH), and that this user may do what docs/redis.md lists.',
  });

const later: Meaning = (said, where) =>
  passing(
    new StoreUnreachableError(`${where} does not serve now: ${said}.`, {
      hint: 'It is starting, failing over or being changed, or has no connection left; try again.',
    }),
  );

const replica: Meaning = (said, where) =>
  passing(
    new StoreUnsuitableError(`${where} cannot be written to: ${said}.`, {
      hint: 'It is a replica, which is read only. After a fail-over that passes; otherwise connect to the primary.',
    }),
  );

const unsaved: Meaning = (said, where) =>
  retryable(
    new StorageFullError(`${where} cannot write to its disk: ${said}.`, {
      hint: 'Make room on the Redis server, and see its log; until then what was refreshed is kept by this process.',
    }),
  );

const full: Meaning = (said, where) =>
  new StorageFullError(`${where} has no room: ${said}.`, {
    hint: 'Make room on the Redis server, or raise its maxmemory; until then what was refreshed is kept by this process.',
  });

const unsuitable =
  (hint: string): Meaning =>
  (said, where) =>
    new StoreUnsuitableError(`${where} cannot keep records as it is: ${said}.`, { hint });

const MEANINGS: readonly (readonly [RegExp, Meaning])[] = [
  [
    /\b(NOAUTH|WRONGPASS|NOPERM|DENIED)\b|ACL failure|invalid (username-)?password|Client sent AUTH|AUTH <password>/i,
    denied,
  ],
  [/\b(LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|NOREPLICAS|UNBLOCKED|max number of clients)\b/, later],
  [/\b(MOVED|ASK) \d+ /, unsuitable('It is a node of a cluster: add ?cluster=true to the URL.')],
  [/\bOOM\b|No space left/, full],
  [/\bREADONLY\b/, replica],
  [/\bMISCONF\b/, unsaved],
  [/\bWRONGTYPE\b/, unsuitable('Something else keeps a key of that name: choose another prefix.')],
];

/**
 * Maps a failure of Redis to an error of ours.
 *
 * @param where the engine, as it is shown to people
 */
export function redisError(error: unknown, where: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const reply = replyOf(error);
  if (reply !== undefined) {
    const meaning = MEANINGS.find(([words]) => words.test(reply))?.[1];
    return (meaning ?? unsuitable('See whether it is Redis 5 or later, or Valkey.'))(quote(reply), where);
  }
  const said = messageOf(error);
  return new StoreUnreachableError(`${where} does not answer${said === '' ? '' : `: ${quote(said)}`}.`, {
    hint: UNREACHABLE_HINT,
  });
}

/** Whether the server cannot write now. Another server may, and new connections lead to that one. */
export function leadsElsewhere(error: unknown): boolean {
  return /\b(READONLY|MASTERDOWN|LOADING|UNBLOCKED)\b/.test(replyOf(error) ?? '');
}

/** Whether the server refuses because all its connections are in use. */
export function hasNoConnection(error: unknown): boolean {
  return replyOf(error)?.includes('max number of clients') === true;
}

const SILENT = ['Connection is closed.', "Stream isn't writeable"];

/** Whether the client gave up on its connection without telling the reason. */
export function saysNoReason(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    error.name === 'MaxRetriesPerRequestError' || SILENT.some((words) => error.message.startsWith(words))
  );
}

/** Whether the server does not know that script, and so did nothing. */
export function isUnknownScript(error: unknown): boolean {
  return replyOf(error)?.startsWith('NOSCRIPT') === true;
}

/** Returns the server's answer, if the server failed and not the connection. */
export function replyOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  // A cluster client wraps the last node's answer.
  if ('lastNodeError' in error && error.lastNodeError instanceof Error) return replyOf(error.lastNodeError);
  if (error.name === 'ReplyError') return error.message;
  // A server with no connection left says so before any command, which the client does not expect.
  return /^Command queue state error\b.*\bLast (?:error|reply): (.*)$/s.exec(error.message)?.[1];
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  if (!(error instanceof Error)) return '';
  if ('lastNodeError' in error && error.lastNodeError instanceof Error) return messageOf(error.lastNodeError);
  return error.message;
}
