import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../../system/environment.ts';
import type { Remembering } from '../provided/remembered-secret.ts';
import { invalid, KMS_HINT, type Kms } from './kms.ts';

const FRESH_MS = 5 * 60_000;
const OUTAGE_MS = 60 * 60_000;
const LONGEST_MS = 24 * 60 * 60_000;

/** The service in HOLDFAST_SEALING_KMS. It distinguishes the wrapped items of different services. */
export type KmsScheme = 'vault' | 'awskms' | 'gcpkms';

export interface NamedKms {
  readonly scheme: KmsScheme;
  readonly remembering: Remembering;
  open(): Promise<Kms>;
}

/**
 * Parses the name of a KMS, without a request.
 *
 * @throws InvalidArgumentError
 */
export function namedKms(text: string, environment: Environment): NamedKms {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) throw invalid(`HOLDFAST_SEALING_KMS is no URL: ${quote(text)}.`);
  if (url.username !== '' || url.password !== '') {
    throw new InvalidArgumentError(
      'HOLDFAST_SEALING_KMS has a user name or a password in it, which no KMS takes there.',
      {
        hint: KMS_HINT,
      },
    );
  }
  const remembering = {
    freshMs: seconds(url, 'cache') ?? FRESH_MS,
    outageMs: seconds(url, 'outage') ?? OUTAGE_MS,
  };
  switch (url.protocol) {
    case 'vault+https:':
    case 'vault+http:':
      return {
        scheme: 'vault',
        remembering,
        open: async () => (await import('./vault.ts')).openVaultKms(url, environment),
      };
    case 'awskms:':
      return {
        scheme: 'awskms',
        remembering,
        open: async () => (await import('./aws.ts')).openAwsKms(url),
      };
    case 'gcpkms:':
      return {
        scheme: 'gcpkms',
        remembering,
        open: async () => (await import('./google.ts')).openGcpKms(url),
      };
    default:
      throw invalid(`HOLDFAST_SEALING_KMS names no KMS that Holdfast knows: ${quote(url.protocol)}.`);
  }
}

function seconds(url: URL, name: string): number | undefined {
  const text = url.searchParams.get(name);
  if (text === null) return undefined;
  const ms = /^\d{1,6}$/.test(text) ? Number(text) * 1000 : Number.NaN;
  if (ms <= LONGEST_MS) return ms;
  throw new InvalidArgumentError(
    `HOLDFAST_SEALING_KMS says ${name}=${quote(text, 20)}, which is no number of seconds up to ${LONGEST_MS / 1000}.`,
    {
      hint: 'cache: how long an unwrapped key is used before the KMS is asked again; outage: how long at most without it.',
    },
  );
}
