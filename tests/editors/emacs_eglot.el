;;; What a person does with Eglot, told as JSON; see test_emacs.py.  -*- lexical-binding: t -*-

(require 'eglot)
(load (expand-file-name "emacs.el" (file-name-directory load-file-name)) nil t)

(setq eglot-confirm-server-initiated-edits nil)
(find-file (expand-file-name "area.py" project))
(call-interactively #'eglot)
(await (lambda () (string-suffix-p "ready" seed-lsp-status)))
(note 'status seed-lsp-status)

(type "    ")
(completion-at-point)
(note 'completed (buffer-string))

(undo-boundary)
(goto-char (point-min))
(let ((before (buffer-string))
      (last-nonmenu-event t))                   ; no mouse: choose by words
  (cl-letf (((symbol-function 'completing-read)
             (lambda (_prompt titles &rest _)
               (note 'titles (vconcat (mapcar #'car titles)))
               "Simplify")))
    (call-interactively #'eglot-code-actions))
  (await (lambda () (not (equal (buffer-string) before)))))
(note 'simplified (buffer-string))

(tell)
