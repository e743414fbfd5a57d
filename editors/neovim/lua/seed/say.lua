--- One sentence for the person, on one line: a longer message would stop all work until Enter is
--- hit. Knows nothing of what is said; the whole of it is in |:messages|.
---@param message string
return function(message)
  message = "seed: " .. message
  vim.api.nvim_cmd({
    cmd = "echomsg",
    args = { vim.fn.string(message) },
    mods = { silent = true },
  }, {})
  local space = vim.v.echospace
  if vim.fn.strdisplaywidth(message) > space then
    message = vim.fn.strcharpart(message, 0, space - 1) .. "…"
  end
  vim.api.nvim_echo({ { message } }, false, {})
end
