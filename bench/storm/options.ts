import { parseArgs } from 'node:util';
import { CONFIGURATIONS } from './configurations.ts';

export interface Options {
  readonly processes: number;
  readonly rounds: number;
  readonly only: readonly string[];
  readonly slow: boolean;
  readonly freshProcesses: boolean;
  readonly peers: boolean;
  readonly json: boolean;
}

export const USAGE = `npm run storm -- [options]

  --processes N       how many processes want the token (64)
  --rounds N          how many times, each with an expired token (200)
  --only NAME         one configuration, or several: ${CONFIGURATIONS.map(({ name }) => name).join(', ')}
  --slow              also a token endpoint that takes 40 s: one round
  --fresh-processes   a fresh \`holdfast token\` for each, in place of long-lived processes
  --peers             also other programs, side by side (installs them in bench/peers, 400 MB)
  --json              the results as JSON`;

/** @throws Error with the usage when they cannot be read */
export function readOptions(args: readonly string[]): Options {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        processes: { type: 'string', default: '64' },
        rounds: { type: 'string', default: '200' },
        only: { type: 'string', multiple: true, default: [] },
        slow: { type: 'boolean', default: false },
        'fresh-processes': { type: 'boolean', default: false },
        peers: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    });
    const only = values.only.flatMap((names) => names.split(','));
    for (const name of only) {
      if (!CONFIGURATIONS.some((one) => one.name === name)) throw new Error(`no configuration is ${name}`);
    }
    const { slow, peers, json } = values;
    return {
      processes: count(values.processes),
      rounds: count(values.rounds),
      only,
      slow,
      freshProcesses: values['fresh-processes'],
      peers,
      json,
    };
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`, {
      cause: error,
    });
  }
}

function count(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new Error(`${text} is no number of processes or rounds`);
  return number;
}
