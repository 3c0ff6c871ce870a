/**
 * Having a saved output opened by the notebook's kernel: over a comm, for this one output.
 *
 * The kernel asks the broker, which decides and logs; see jupyter_aisec/kernel/comm.py.
 */

import { IOutput } from '@jupyterlab/nbformat';
import { Kernel } from '@jupyterlab/services';
import { JSONObject } from '@lumino/coreutils';

import { fields, list, text, texts } from './json';
import { IProblem } from './tokens';

/** The MIME type of sealed outputs; see jupyter_aisec/sealed/outputs.py. */
export const SEALED_TYPE = 'application/vnd.jupyter-aisec.sealed+json';

const TARGET = 'jupyter_aisec.outputs';
const SECURE_KERNEL = 'aisec';
const SECURE_NAME = '"Python 3 (secure)"';
const OUTPUT_TYPES: readonly unknown[] = [
  'stream',
  'display_data',
  'execute_result',
  'error'
];

/** Why an output was not opened, and what to do next. */
export class OpeningError extends Error implements IProblem {
  constructor(
    readonly what: string,
    readonly next: string,
    readonly code: string
  ) {
    super(what);
  }
}

/** The artifacts that a sealed output says it was made from; none if it says nothing. */
export function artifactsOf(sealed: unknown): string[] {
  const keys = list(fields(fields(sealed).header).keys);
  const names = texts(keys.map(key => fields(key).artifact));
  return [...new Set(names)].sort();
}

/**
 * The output in a sealed bundle, as it was. Anybody can seal, so it is nothing to trust.
 *
 * @throws OpeningError
 */
export async function openOutput(
  kernel: Kernel.IKernelConnection | null | undefined,
  sealed: JSONObject
): Promise<IOutput> {
  if (!kernel) {
    throw new OpeningError(
      'This notebook has no kernel.',
      `Choose ${SECURE_NAME}: Kernel → Change Kernel…, and press Show again.`,
      'kernel-missing'
    );
  }
  return readAnswer(await ask(kernel, sealed), kernel.name);
}

/** A comm as it is made by JupyterLab: in a subshell it does not wait for a running cell. */
interface ISubshellComm extends Kernel.IComm {
  readonly subshellStarted?: Promise<void>;
}

/** What the kernel answered, or undefined if it did not. */
async function ask(
  kernel: Kernel.IKernelConnection,
  sealed: JSONObject
): Promise<unknown> {
  const comm = kernel.createComm(TARGET);
  let answer: unknown;
  comm.onMsg = message => {
    answer = message.content.data;
  };
  try {
    if (kernel.supportsSubshells) {
      await (comm as ISubshellComm).subshellStarted;
    }
    await comm.open({ sealed }).done;
  } catch {
    if (answer === undefined) {
      throw new OpeningError(
        'The kernel ended before it answered.',
        'Press Show again when it is back.',
        'kernel-gone'
      );
    }
  } finally {
    comm.dispose();
  }
  return answer;
}

function readAnswer(answer: unknown, kernel: string): IOutput {
  const { output, error } = fields(answer);
  if (OUTPUT_TYPES.includes(fields(output).output_type)) {
    return output as IOutput;
  }
  const { what, next, code } = fields(error);
  if (typeof what === 'string') {
    throw new OpeningError(what, text(next), text(code));
  }
  if (kernel !== SECURE_KERNEL) {
    throw new OpeningError(
      'This kernel does not open sealed outputs.',
      `Choose ${SECURE_NAME}: Kernel → Change Kernel…, and press Show again.`,
      'kernel-not-secure'
    );
  }
  throw new OpeningError(
    'The kernel did not answer.',
    'Restart it: Kernel → Restart Kernel…, and press Show again.',
    'kernel-silent'
  );
}
