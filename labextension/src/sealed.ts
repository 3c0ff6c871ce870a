import { DocumentRegistry } from '@jupyterlab/docregistry';
import { IOutput } from '@jupyterlab/nbformat';
import { INotebookModel, NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry, OutputModel } from '@jupyterlab/rendermime';
import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { lockIcon } from '@jupyterlab/ui-components';
import { JSONObject } from '@lumino/coreutils';
import { DisposableDelegate, IDisposable } from '@lumino/disposable';
import { Panel, Widget } from '@lumino/widgets';

import { artifactsOf, OpeningError, openOutput, SEALED_TYPE } from './opening';
import { IProblem } from './tokens';

/** Before the text that front ends without this renderer show. */
const RANK = 0;

/** What a `SealedOutput` is made from. */
export interface ISealedOutputOptions {
  /** Renders what was opened. */
  readonly rendermime: IRenderMimeRegistry;
  /** Has a sealed bundle opened. */
  readonly open: (sealed: JSONObject) => Promise<IOutput>;
}

/**
 * A sealed output in a notebook: what it was made from, and a button that shows it.
 *
 * What was opened lives in this widget alone. The notebook's own model keeps the ciphertext, so
 * that saving writes what was saved before.
 */
export class SealedOutput extends Panel implements IRenderMime.IRenderer {
  constructor(private readonly _options: ISealedOutputOptions) {
    super();
    this.addClass('jp-AisecSealed');
    this._what = document.createElement('span');
    this._what.className = 'jp-AisecSealed-what';
    this._button = document.createElement('button');
    this._button.className = 'jp-AisecSealed-button';
    this._button.type = 'button';
    this._button.addEventListener('click', this._onClick);
    this._problem = document.createElement('div');
    this._problem.className = 'jp-AisecSealed-problem';
    this._problem.setAttribute('role', 'alert');
    const bar = new Widget();
    bar.addClass('jp-AisecSealed-bar');
    const icon = lockIcon.element({
      className: 'jp-AisecSealed-icon',
      tag: 'span'
    });
    bar.node.append(icon, this._what, this._button);
    this.addWidget(bar);
    this.node.append(this._problem);
    this._hide();
  }

  /** Called again whenever the output changes; what was shown of the last one goes. */
  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._sealed = model.data[SEALED_TYPE] as JSONObject;
    const names = artifactsOf(this._sealed).join(', ');
    this._what.textContent = names
      ? `Sealed output, made from ${names}`
      : 'Sealed output';
    this._hide();
    return Promise.resolve();
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._button.removeEventListener('click', this._onClick);
    this._hide();
    super.dispose();
  }

  /** Has it opened, and shows it or why not; settles when that is done. */
  async open(): Promise<void> {
    const asked = ++this._asked;
    this._button.disabled = true;
    this._button.textContent = 'Opening…';
    this._say(null);
    try {
      const output = await this._options.open(this._sealed);
      if (asked === this._asked) {
        await this._draw(output);
      }
    } catch (reason) {
      if (asked === this._asked) {
        this._hide();
        this._say(problemOf(reason));
      }
    }
  }

  private _onClick = (): void => {
    if (this._shown === null) {
      void this.open();
    } else {
      this._hide();
    }
  };

  private async _draw(output: IOutput): Promise<void> {
    const model = new OutputModel({ value: output, trusted: false });
    const { rendermime } = this._options;
    // Of what is not trusted only what can be made harmless is shown.
    const type = rendermime.preferredMimeType(model.data, 'ensure');
    if (type === undefined) {
      model.dispose();
      throw new OpeningError(
        'Nothing of this output can be shown: it is not trusted.',
        'Run the cell again.',
        'output-not-shown'
      );
    }
    const renderer = rendermime.createRenderer(type);
    renderer.addClass('jp-AisecSealed-output');
    this.addWidget(renderer);
    this._shown = new DisposableDelegate(() => {
      renderer.dispose();
      model.dispose();
    });
    this._button.disabled = false;
    this._button.textContent = 'Hide';
    this._button.setAttribute('aria-expanded', 'true');
    await renderer.renderModel(model);
  }

  private _hide(): void {
    this._asked++; // an answer that still comes is not shown
    this._shown?.dispose();
    this._shown = null;
    this._button.disabled = false;
    this._button.textContent = 'Show';
    this._button.setAttribute('aria-expanded', 'false');
    this._say(null);
  }

  private _say(problem: IProblem | null): void {
    this._problem.replaceChildren();
    this._problem.hidden = problem === null;
    for (const line of problem === null ? [] : [problem.what, problem.next]) {
      const node = document.createElement('div');
      node.append(...marked(line));
      this._problem.append(node);
    }
    if (problem !== null) {
      this._problem.dataset.code = problem.code;
    }
  }

  private readonly _what: HTMLElement;
  private readonly _button: HTMLButtonElement;
  private readonly _problem: HTMLElement;
  private _sealed: JSONObject = {};
  private _shown: IDisposable | null = null;
  private _asked = 0;
}

/** Text with its commands, which stand between backticks, as code. */
function marked(line: string): HTMLElement[] {
  return line.split('`').map((part, place) => {
    const node = document.createElement(place % 2 === 1 ? 'code' : 'span');
    node.textContent = part;
    return node;
  });
}

function problemOf(reason: unknown): IProblem {
  return reason instanceof OpeningError
    ? reason
    : {
        what: 'This output could not be shown.',
        next: 'Run the cell again.',
        code: 'output-not-shown'
      };
}

/** Gives every notebook a renderer that asks that notebook's kernel. */
export class SealedOutputs implements DocumentRegistry.IWidgetExtension<
  NotebookPanel,
  INotebookModel
> {
  createNew(panel: NotebookPanel): IDisposable {
    const { rendermime } = panel.content;
    const open = (sealed: JSONObject) =>
      openOutput(panel.sessionContext.session?.kernel, sealed);
    rendermime.addFactory(
      {
        safe: true,
        mimeTypes: [SEALED_TYPE],
        createRenderer: () => new SealedOutput({ rendermime, open })
      },
      RANK
    );
    return new DisposableDelegate(() => rendermime.removeMimeType(SEALED_TYPE));
  }
}
