;;; Words that both drivers of Emacs use; see test_emacs.py.  -*- lexical-binding: t -*-

(defvar project (getenv "SEED_PROJECT"))
(defvar result nil)

(defun note (key value)
  "Remember VALUE under KEY for the last line."
  (push (cons key value) result))

(defun await (is-so)
  "Let processes and timers run until IS-SO says so, or for long."
  (let ((deadline (+ (float-time) 30)))
    (while (and (not (funcall is-so)) (< (float-time) deadline))
      (accept-process-output nil 0.05))))

(defun type (text)
  "Insert TEXT at the end, as keys would."
  (goto-char (point-max))
  (insert text))

(defun tell ()
  "Print what was noted, and what Emacs has warned of."
  (note 'warnings
        (if (get-buffer "*Warnings*") (with-current-buffer "*Warnings*" (buffer-string)) ""))
  (princ (concat (json-serialize result) "\n")))
