import { InvalidArgumentError } from '../../errors.ts';
import { HostileValuesError, parsePlainJson } from '../../values/plain-values.ts';
import type { Environment } from '../environment.ts';
import type { Layout } from './paths.ts';
import { readPrivateFile } from './private-directory.ts';
import { shellPath } from './storage-error.ts';

/** Settings are a page of text; a much larger file is not a settings file. */
const MAX_BYTES = 64 * 1024;

/** The content of `config.json`, and its path for messages. */
export interface SettingsFile {
  readonly path: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

/**
 * Reads the user's settings, if the file exists. Each part of the product reads its own fields.
 *
 * @throws InvalidArgumentError when the file is not a JSON object; the message names the file, line and column
 * @throws StorageUnsafeError when other users may change the file: they could choose where the key is stored, and which
 *   server is trusted
 */
export async function readSettings(
  layout: Layout,
  environment: Environment,
): Promise<SettingsFile | undefined> {
  const bytes = await readPrivateFile(layout.config, environment, { maxBytes: MAX_BYTES });
  if (bytes === undefined) return undefined;
  const path = shellPath(layout.config);
  const settings = parse(bytes.toString('utf8'), path);
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    throw new InvalidArgumentError(`${path} does not hold an object.`, {
      hint: 'It should look like {"keyring": "file"}.',
    });
  }
  return { path, settings: settings as Readonly<Record<string, unknown>> };
}

function parse(text: string, path: string): unknown {
  try {
    return parsePlainJson(text);
  } catch (error) {
    if (error instanceof HostileValuesError) {
      throw new InvalidArgumentError(`${path} cannot be used: ${error.message}.`, {
        hint: 'Remove that from the file.',
      });
    }
    const [line, column] = lineAndColumn(text);
    throw new InvalidArgumentError(`${path} is not JSON: line ${line}, column ${column}.`, {
      cause: error,
      hint: 'Mend it there, or move the file aside.',
    });
  }
}

/**
 * Finds the position where the text stops being JSON. V8's error message names it only sometimes. But a text cut off
 * before the fault fails at its end, and a text cut off after the fault fails earlier. So a binary search finds it.
 */
function lineAndColumn(text: string): [line: number, column: number] {
  let [good, bad] = [0, text.length + 1];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (failsWithin(text.slice(0, middle))) bad = middle;
    else good = middle;
  }
  const lines = text.slice(0, good).split('\n');
  return [lines.length, (lines.at(-1) ?? '').length + 1];
}

function failsWithin(text: string): boolean {
  try {
    JSON.parse(text);
    return false;
  } catch (error) {
    const message = error instanceof Error ? error.message : '';
    if (message.includes('end of JSON')) return false;
    const at = /position (\d+)/.exec(message)?.[1];
    return at === undefined || Number(at) < text.length;
  }
}
