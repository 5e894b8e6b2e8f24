import { channel } from 'node:diagnostics_channel';

/*
 * Reports the moments between which a crash must lose nothing, on the diagnostics channel `holdfast:step`. Without a
 * subscriber a report costs one comparison. The fault tests kill and stop processes at each of these moments.
 */

/** In the order in which a refresh reaches them. */
export const CHECKPOINTS = [
  'lease-wanted',
  'lease-held',
  'space-reserved',
  'intent-noted',
  'request-sent',
  'response-received',
  'file-staged',
  'file-placed',
  'directory-synced',
  'outcome-noted',
  'lease-released',
] as const;

export type Step = (typeof CHECKPOINTS)[number];

/** The message that a subscriber receives. */
export interface StepMessage {
  readonly step: Step;
}

const steps = channel('holdfast:step');

export function step(name: Step): void {
  if (!steps.hasSubscribers) return;
  const message: StepMessage = { step: name };
  steps.publish(message);
}
