import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Option } from '../command.ts';

const FORMATS = ['text', 'json'] as const;

/** The option of long-running commands. */
export const LOG: Option = {
  type: 'string',
  value: 'FORMAT',
  choices: FORMATS,
  summary: 'text, or json: one object a line on stderr, with time and level (default: text)',
};

/** @throws InvalidArgumentError for an unknown format */
export function isLog(given: string | true | undefined): boolean {
  if (given === undefined) return false;
  if (FORMATS.some((format) => format === given)) return given === 'json';
  throw new InvalidArgumentError(`--log knows no ${quote(String(given), 40)}.`, {
    hint: `It takes: ${FORMATS.join(', ')}`,
  });
}
