import { channel } from 'node:diagnostics_channel';

/*
 * The moments between which a crash must lose nothing, told to whoever listens on the diagnostics channel
 * `holdfast:step`. Without a listener it costs one comparison. The fault tests kill and stop processes at each of them.
 */

export type Step =
  | 'lease-wanted'
  | 'lease-held'
  | 'space-reserved'
  | 'intent-noted'
  | 'request-sent'
  | 'response-received'
  | 'file-staged'
  | 'file-placed'
  | 'directory-synced'
  | 'outcome-noted'
  | 'lease-released';

/** What a listener gets. */
export interface StepMessage {
  readonly step: Step;
}

const steps = channel('holdfast:step');

export function step(name: Step): void {
  if (!steps.hasSubscribers) return;
  const message: StepMessage = { step: name };
  steps.publish(message);
}
