--- A workspace edit as changes of buffers: what they would be, and making them.
---
--- Knows neither windows nor servers.
local api = vim.api

---@class seed.Change
---@field buf integer
---@field version integer? that it is for
---@field edits table[] TextEdits

local M = {}

--- Edits without what else they carry: Neovim would ask once more about annotated ones.
---@param edits table[]
---@return table[]
local function plain(edits)
  return vim.tbl_map(function(edit)
    return { range = edit.range, newText = edit.newText }
  end, edits)
end

--- What an edit changes.
---@param edit table a WorkspaceEdit
---@return seed.Change[]
function M.of(edit)
  local changes = {}
  for _, change in ipairs(edit.documentChanges or {}) do
    local version = change.textDocument.version
    table.insert(changes, {
      buf = vim.uri_to_bufnr(change.textDocument.uri),
      version = version ~= vim.NIL and version or nil,
      edits = plain(change.edits),
    })
  end
  for uri, edits in pairs(edit.changes or {}) do
    table.insert(changes, { buf = vim.uri_to_bufnr(uri), edits = plain(edits) })
  end
  for _, change in ipairs(changes) do
    vim.fn.bufload(change.buf)
  end
  return changes
end

--- What the server says about an edit; one sentence or more, or nothing.
---@param edit table a WorkspaceEdit
---@return string
function M.description(edit)
  local _, annotation = next(edit.changeAnnotations or {})
  return annotation and annotation.description or ""
end

--- Whether any of the buffers has changed since the edit was made for it.
---@param changes seed.Change[]
---@return boolean
function M.are_stale(changes)
  return vim.iter(changes):any(function(change)
    return change.version ~= nil and vim.lsp.util.buf_versions[change.buf] ~= change.version
  end)
end

---@param change seed.Change
---@param encoding string
---@return string
local function diff_of(change, encoding)
  local old = api.nvim_buf_get_lines(change.buf, 0, -1, true)
  local scratch = api.nvim_create_buf(false, true)
  api.nvim_buf_set_lines(scratch, 0, -1, true, old)
  vim.lsp.util.apply_text_edits(change.edits, scratch, encoding)
  local new = api.nvim_buf_get_lines(scratch, 0, -1, true)
  api.nvim_buf_delete(scratch, { force = true })
  local diff = vim.text and vim.text.diff or vim.diff
  return diff(table.concat(old, "\n") .. "\n", table.concat(new, "\n") .. "\n", { ctxlen = 3 })
end

--- What would change, as a unified diff.
---@param changes seed.Change[]
---@param encoding string
---@return string
function M.diff(changes, encoding)
  local parts = vim.tbl_map(function(change)
    return diff_of(change, encoding)
  end, changes)
  return table.concat(parts, "\n")
end

--- Change the buffers; each in one step for undo.
---@param changes seed.Change[]
---@param encoding string
function M.make(changes, encoding)
  for _, change in ipairs(changes) do
    vim.lsp.util.apply_text_edits(change.edits, change.buf, encoding)
  end
end

return M
