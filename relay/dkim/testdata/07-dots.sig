DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
	d=example.com; s=e1; t=1772597167;
	bh=Zfnjjww6CrHRbAX/Zg+EOrnnHjDZlYodI6qa+BSEzWQ=;
	h=from:from:to:subject:date;
	b=NvgALnibL3xTbD6maj0ZM5LPBM9ceUWY21ngwqmMQm3FnFdWb2N0Wrhjz/qQoxVQ4CKHsTHTf
	 ht7pcPXCgj5Ag==
