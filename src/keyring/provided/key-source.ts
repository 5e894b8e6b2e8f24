import { InvalidArgumentError, KeyringAbsentError, KeyringBrokenError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../../system/environment.ts';
import { readMountedSecret } from '../../system/files/mounted-secret.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import { commandOutput } from '../../system/processes/command-output.ts';
import { commandWords } from '../../system/processes/command-words.ts';
import { givenKeys, keyText, SEALING_KEY_ITEM } from '../key-text.ts';
import type { Keyring, KeyringProbe } from '../keyring.ts';
import { probing } from '../probe-result.ts';
import { KEY_SOURCES, type KeySource } from './key-source-names.ts';
import { RememberedSecret } from './remembered-secret.ts';

/*
 * A sealing key that an operator gives to many machines: in a file, in a variable, or as a command's output. Holdfast
 * reads it and never writes it.
 */

/** Maximum size of the source in bytes: room for more than a hundred keys. */
const MAX_BYTES = 8 * 1024;

const COMMAND_TIMEOUT_MS = 10_000;
const COMMAND_REMEMBERED = { freshMs: 5 * 60_000, outageMs: 60 * 60_000 };

const CHANGE =
  'To change the key: put a new one (holdfast key new) before those that are there, on every machine; run holdfast rekey; then take the old ones away.';

/** @throws InvalidArgumentError when the variable's value is invalid */
export function openKeySource(source: KeySource, environment: Environment): Keyring {
  switch (source) {
    case 'key-file':
      return new KeySourceKeyring(source, () => fromFile(environment));
    case 'key-variable':
      return new KeySourceKeyring(source, async () =>
        parsed(given(source, environment), 'HOLDFAST_SEALING_KEY'),
      );
    case 'key-command': {
      const command = wordsOf(given(source, environment));
      const remembered = new RememberedSecret(() => fromCommand(command, environment), COMMAND_REMEMBERED);
      return new KeySourceKeyring(source, async () => (await remembered.get()) ?? '', remembered);
    }
  }
}

class KeySourceKeyring implements Keyring {
  readonly id: string;
  readonly tier = 'shared';
  readonly readOnly = true;
  readonly #read: () => Promise<string>;
  readonly #remembered: RememberedSecret<string> | undefined;

  constructor(id: string, read: () => Promise<string>, remembered?: RememberedSecret<string>) {
    this.id = id;
    this.#read = read;
    this.#remembered = remembered;
  }

  probe(): Promise<KeyringProbe> {
    return probing('disk', this.#read);
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    return name === SEALING_KEY_ITEM ? Buffer.from(await this.#read(), 'ascii') : undefined;
  }

  async set(): Promise<void> {
    throw this.#readOnlyError();
  }

  async delete(name: string): Promise<boolean> {
    if (name === SEALING_KEY_ITEM) throw this.#readOnlyError();
    return false;
  }

  forget(readBefore: number): boolean {
    return this.#remembered?.forget(readBefore) ?? false;
  }

  async close(): Promise<void> {
    this.#remembered?.clear();
  }

  #readOnlyError(): InvalidArgumentError {
    return new InvalidArgumentError(
      `The keyring ${this.id} is only read by Holdfast, and nothing was changed.`,
      {
        hint: CHANGE,
      },
    );
  }
}

/** The value of the source's variable. */
function given(source: KeySource, { variables }: Environment): string {
  const value = variables[KEY_SOURCES[source]];
  if (value) return value;
  throw new KeyringAbsentError(`The variable ${KEY_SOURCES[source]} is not set.`, {
    hint: `Set it, or choose another keyring than ${source}.`,
  });
}

async function fromFile(environment: Environment): Promise<string> {
  const path = given('key-file', environment);
  const bytes = await readMountedSecret(path, environment, {
    maxBytes: MAX_BYTES,
    says: KEY_SOURCES['key-file'],
  });
  if (bytes === undefined) {
    throw new KeyringAbsentError(`HOLDFAST_SEALING_KEY_FILE names ${shellPath(path)}, which is not there.`, {
      hint: `Mount the secret there. To make one: holdfast key new --out ${shellPath(path)}`,
    });
  }
  return parsed(bytes.toString('utf8'), `${shellPath(path)}, which HOLDFAST_SEALING_KEY_FILE names,`);
}

function wordsOf(line: string): readonly string[] {
  const words = commandWords(line);
  if (words === undefined || !words[0]) {
    throw new InvalidArgumentError(
      `HOLDFAST_SEALING_KEY_COMMAND ${words === undefined ? 'has a quote that is not closed' : 'names no program'}.`,
      {
        hint: 'Write the program and its arguments with blanks between; quotes hold words together; there is no shell.',
      },
    );
  }
  return words;
}

async function fromCommand(command: readonly string[], environment: Environment): Promise<string> {
  const what = `The command of HOLDFAST_SEALING_KEY_COMMAND, ${quote(command[0] ?? '', 80)},`;
  const ran = await commandOutput(command, environment, {
    timeoutMs: COMMAND_TIMEOUT_MS,
    maxBytes: MAX_BYTES,
  });
  const hint = 'Run it by itself to see why.';
  switch (ran.outcome) {
    case 'done':
      return parsed(ran.output.toString('utf8'), `What ${quote(command[0] ?? '', 80)} printed`);
    case 'not-found':
      throw new KeyringAbsentError(`${what} was not found.`, { hint: 'Name it by its full path.' });
    case 'failed':
      throw new KeyringBrokenError(`${what} failed (${ran.how}).`, { hint });
    case 'too-long':
      throw new KeyringBrokenError(`${what} did not end within ${COMMAND_TIMEOUT_MS / 1000} s.`, { hint });
    case 'too-large':
      throw new KeyringBrokenError(`${what} printed more than ${MAX_BYTES} bytes.`, { hint });
  }
}

/** Converts the text to a keyring item in its canonical spelling. */
function parsed(text: string, what: string): string {
  const keys = givenKeys(text);
  if (Array.isArray(keys)) return keyText(keys);
  throw new KeyringBrokenError(`${what} ${keys.fault}.`, {
    hint: 'It should be lines of 43 characters, each a key of 32 random bytes: holdfast key new makes one.',
  });
}
