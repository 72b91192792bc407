DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
	d=example.com; s=e1; t=1772597167;
	bh=rUzCgqvQwauftHviQkCeuLIiz1Uzc0oYfFZdjRB8+Eg=;
	h=from:from:to:subject:subject:date;
	b=/fsC4525aJ1ckrGF/QcXxN1TqzqakAGzK3yrOYHb9y6yyERPmAz0/esgB3fGKCcLhfdUvQD7m
	 N58rPLMJLAIDA==
