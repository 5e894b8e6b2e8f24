import type { ClientRegistration, CredentialId } from '../credential.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import type { VaultEvent } from '../credentials/vault-event.ts';
import type { Discovery } from '../oauth/discovery/discovery.ts';
import type { TokenResponse } from '../oauth/tokens/token.ts';
import type { Secret } from '../secret.ts';
import type { Environment } from '../system/environment.ts';
import type { ClientPlan } from './client.ts';
import type { LoginInteraction, LoginOptions } from './types.ts';

/** The input that every login flow needs. */
export interface Attempt {
  readonly id: CredentialId;
  readonly options: LoginOptions;
  readonly interaction: LoginInteraction;
  readonly timeoutMs: number;
  readonly discovery: Discovery;
  readonly plan: ClientPlan;
  /** The scope that the stored login requested, if it was made at the same authorization server. */
  readonly formerScope: string | undefined;
  readonly dpop: { readonly secret: Secret; readonly thumbprint: string } | undefined;
  readonly environment: Environment;
  readonly report: (event: VaultEvent) => void;
  /** Seals and saves the tokens that the server granted. */
  readonly save: (granted: Granted) => Promise<StoredCredential>;
}

export interface Granted {
  readonly answer: TokenResponse;
  readonly client: ClientRegistration;
  readonly requestedScope: string | undefined;
}
