;;; What a person does with lsp-mode, told as JSON; see test_emacs.py.  -*- lexical-binding: t -*-

(require 'lsp-mode)
(load (expand-file-name "emacs.el" (file-name-directory load-file-name)) nil t)

(setq lsp-enable-snippet nil
      lsp-session-file (expand-file-name "session" project))
(lsp-workspace-folders-add project)
(find-file (expand-file-name "area.py" project))
(lsp)
(await (lambda () (string-suffix-p "ready" seed-lsp-status)))
(note 'status seed-lsp-status)
(note 'servers
      (vconcat (mapcar (lambda (it) (symbol-name (lsp--workspace-server-id it))) (lsp-workspaces))))

;; Whatever shows inline completions sends this.
(type "    ")
(let ((items (lsp-request "textDocument/inlineCompletion"
                          (append (lsp--text-document-position-params)
                                  '(:context (:triggerKind 1))))))
  (note 'inline (vconcat (mapcar (lambda (item) (lsp-get item :insertText)) items))))

(undo-boundary)
(completion-at-point)
(note 'completed (buffer-string))

(undo-boundary)
(goto-char (point-min))
(let ((actions (lsp-code-actions-at-point)))
  (note 'titles (vconcat (mapcar (lambda (it) (lsp-get it :title)) actions)))
  (lsp-execute-code-action
   (seq-find (lambda (it) (equal (lsp-get it :title) "Simplify")) actions)))
(note 'simplified (buffer-string))

(undo-boundary)
(goto-char (point-min))
(let ((before (buffer-string)))
  (seed-lsp-rewrite "return nothing")
  (await (lambda () (not (equal (buffer-string) before)))))
(note 'rewritten (buffer-string))
(undo-boundary)
(undo)
(note 'undone (buffer-string))

(tell)
